// Package roster tells people who works on the same Redis, and what they have
// not finished: from the heartbeats as this process sees them move, and from
// the open attempts. It decides nothing; whether a process counts as dead is
// the engine's to say.
package roster
