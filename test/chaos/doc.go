// Package chaos puts whole running services through a seeded campaign of
// faults, and judges the end by what the provider's ledger, the event log,
// the subscribers, the readers and the records say.
//
//	go test ./test/chaos -run TestCampaign -args -seed 7 -rotations 20000 -faults 2000
//	go test ./test/chaos -run TestCampaign -args -replay FOLDER
//	go test ./test/chaos -run TestJudge -args -judge FOLDER
//
// Three replicas run against practice providers: two of them share a data_dir
// as two processes of one machine do, the third has its own. Every connection
// between the parts goes through a proxy that can be made slow, narrow or deaf.
// What is done to whom at which step follows from the seed alone. A run writes
// a folder: the plan, what was done and when, the configurations, the log of
// every process, the ledgers, the events as each subscriber saw them, and the
// final records. The folder is kept, and its path printed, when a promise was
// broken. A FOLDER is an absolute path.
package chaos
