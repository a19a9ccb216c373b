// Package service runs the built program against providers, a Redis and
// subscribers that are real processes and real connections, and looks from
// outside at what it promises: with the ledger of the provider, the events, the
// logs and the data that it leaves behind.
//
// It has tests only. Each load is written once and run with two sets of
// constants: short ones for every run, and the full length in tests named Soak,
// which run where REFRESHD_SOAK is 1.
package service
