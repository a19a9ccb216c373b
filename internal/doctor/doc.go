// Package doctor says what is wrong on a machine and with a service: facts go
// in, findings with their consequences and remedies come out. It also looks at
// a machine for the facts that only the system can tell, and changes nothing
// there. Who gathers the rest, and asks the service, hands it in.
package doctor
