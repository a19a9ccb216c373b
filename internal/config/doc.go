// Package config reads config.yaml. It is strict: unknown and duplicate keys,
// contradicting values and settings that this version does not act on are
// refused, all of them in one error, each with the file and line, the key, the
// value and the remedy. Environment variables override single values, and
// secrets may come from the environment or from files.
//
// No message ever holds the value of a secret.
package config
