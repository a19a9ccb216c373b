package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/refreshd/refreshd/internal/credential"
)

// All names in Redis. Every key starts with "rd:". The hash tag in braces puts
// keys that are used together into one slot of a cluster; that of a shard is
// the name of its queue in asynq as well, so a credential and its tasks share
// a slot.
//
//	rd:meta                          hash    schema, shards, epoch, keyset, canary
//	rd:owners                        hash    owner -> heartbeats so far
//	rd:members                       hash    owner -> folder of its journal, run of Redis that it is ready for, run that it waits for, round in which it looked
//	rd:settled                       string  round, and run of Redis that everyone was ready for in it
//	rd:round                         string  how often somebody has changed what the others went by before that
//	rd:inherited                     hash    dead owner -> run of Redis into which its heir had put back what it left, while others waited
//	rd:{refresh-07}:cred:<id>        hash    h head and r rest of the record, s sealed token, o open attempt, a newest generation of the sealed alternates and these,
//	                                         l sealed login, u sealed user data, t moment of a session's last touch
//	rd:{refresh-07}:due:<provider>   zset    id -> ms at which it has to be looked at
//	rd:{refresh-07}:open             hash    id -> owner of its open attempt
//	rd:{refresh-07}:ids              zset    id -> 0, for sorted listing
//	rd:{refresh-07}:events           stream  one field e per event
//	rd:{refresh-07}:trimmed          string  position of the newest trimmed event
//	rd:{refresh-07}:told             hash    <kind>:<subscription> -> ULID of the event about it that was appended last
//	rd:{refresh-07}:claim:<nonce>    string  the IDs that a claim got, for its repetition
//	rd:{permit:<provider>}:leases    zset    lease -> ms at which it ends
//	rd:{permit:<provider>}:state     hash    used, tokens, at, l:<lease> -> permits;
//	                                         hold, why, detail of the last hold
//	rd:{permit:<provider>}:claims    hash    reservation -> its ms and how many claims
//	rd:{keys}:all                    hash    SHA-256 of an API key -> its description
//	rd:{keys}:revoked:<id>           string  1 where a key was revoked: nobody puts it back
//	rd:{tickets}:<SHA-256>           string  what a ticket lets see, by the hash of its text; gone with the ticket
//	rd:{tickets}:made:<SHA-256>      string  how many an API key has made of late, by the key's hash
//	rd:{slots}:<name>                hash    progress of a periodic task
//	rd:{subs}:all                    hash    subscription -> version, times, sealed settings; #revision, #deleted:<name> -> since when
//	rd:{subs}:removed:<name>         string  when the subscription was made that was removed last: nobody puts it back
//	rd:{sub:<name>}:state            hash    f<shard> -> where it starts, n<shard> -> how far lanes were told of news;
//	                                         of a row of failures: fails, row (its begin), first (lane), mixed (more than one lane);
//	                                         of the breaker: open, probes, prober, probing (till when), hold; from, till of the last outage;
//	                                         disabled (reason), since, why, stuck (event); lagging; tell:<kind> -> what the event log is to be told
//	rd:{sub:<name>}:lane:<n>         hash    want, done, owes, attempt, next, failed, holder, until, lease, c<shard> -> cursor
//	rd:{sub:<name>}:log              list    its last deliveries, the newest first: ms and JSON
//	rd:{sub:<name>}:poll             hash    revision, value: how far a receiver that polls has answered
//	rd:{ssf}:keys                    hash    revision, value: the sealed keys that security event tokens are signed with
const (
	prefix     = "rd:"
	keyMeta    = prefix + "meta"
	keyOwners  = prefix + "owners"
	keyMembers = prefix + "members"
	keySettled = prefix + "settled"
	keyRound   = prefix + "round"
	keyHeirs   = prefix + "inherited"
	keyAPIKeys = prefix + "{keys}:all"
	revoked    = prefix + "{keys}:revoked:"
	tickets    = prefix + "{tickets}:"
	keySigning = prefix + "{ssf}:keys"
	keySubs    = prefix + "{subs}:all"
	removed    = prefix + "{subs}:removed:"
	slotPrefix = prefix + "{slots}:"
	anyCred    = prefix + "{refresh-*}:cred:*"
	anyDue     = prefix + "{refresh-*}:due:*"

	// MaxShards is the largest number of shards: their names have two digits.
	MaxShards = 100
)

// shardKeys are the names of one shard.
type shardKeys struct {
	cred    string // + ID
	due     string // + provider
	claim   string // + nonce
	open    string
	ids     string
	events  string
	trimmed string
	told    string
}

func keysOf(shard int) shardKeys {
	tag := fmt.Sprintf("%s{refresh-%02d}:", prefix, shard)
	return shardKeys{
		cred: tag + "cred:", due: tag + "due:", claim: tag + "claim:",
		open: tag + "open", ids: tag + "ids", events: tag + "events", trimmed: tag + "trimmed", told: tag + "told",
	}
}

func allShardKeys(shards int) []shardKeys {
	list := make([]shardKeys, shards)
	for i := range list {
		list[i] = keysOf(i)
	}
	return list
}

func keyPermitLeases(provider string) string  { return prefix + "{permit:" + provider + "}:leases" }
func keyPermitState(provider string) string   { return prefix + "{permit:" + provider + "}:state" }
func keyPermitClaims(provider string) string  { return prefix + "{permit:" + provider + "}:claims" }
func keyTicket(hash [sha256.Size]byte) string { return tickets + hex.EncodeToString(hash[:]) }
func keyTicketsMade(key string) string        { return tickets + "made:" + key }
func keySub(sub string) string                { return prefix + "{sub:" + sub + "}:state" }
func keySubLog(sub string) string             { return prefix + "{sub:" + sub + "}:log" }
func keyPoll(sub string) string               { return prefix + "{sub:" + sub + "}:poll" }
func keyLane(sub string, lane int) string {
	return prefix + "{sub:" + sub + "}:lane:" + strconv.Itoa(lane)
}

// idOfKey returns the ID in the name of a credential's key.
func idOfKey(key string) (credential.ID, bool) {
	_, id, ok := strings.Cut(key, "}:cred:")
	return credential.ID(id), ok
}

// providerOfKey returns the provider in the name of a due index.
func providerOfKey(key string) (string, bool) {
	_, name, ok := strings.Cut(key, "}:due:")
	return name, ok && checkName("provider", name) == nil
}

// wantType is the Redis type that a key of ours has.
func wantType(key string) string {
	if key == keySettled || key == keyRound || strings.HasPrefix(key, tickets) || strings.HasPrefix(key, revoked) || strings.HasPrefix(key, removed) {
		return "string"
	}
	tag, rest, _ := strings.Cut(key, "}:")
	name, _, _ := strings.Cut(rest, ":")
	switch {
	case strings.HasPrefix(tag, prefix+"{permit:"):
		if name == "leases" {
			return "zset"
		}
	case strings.HasPrefix(tag, prefix+"{sub:"):
		if name == "log" {
			return "list"
		}
	case strings.HasPrefix(tag, prefix+"{refresh-"):
		switch name {
		case "due", "ids":
			return "zset"
		case "events":
			return "stream"
		case "claim", "trimmed":
			return "string"
		}
	}
	return "hash"
}

// shardHash places an ID: 64-bit FNV-1a. Where a credential is stored depends
// on it, so it never changes.
func shardHash(id credential.ID) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for i := range len(id) {
		h ^= uint64(id[i])
		h *= prime
	}
	return h
}

// maxName bounds the names of providers, subscriptions and periodic tasks.
const maxName = 128

// checkName refuses what would break out of a key or of a stored line.
func checkName(what, name string) error {
	if name == "" || len(name) > maxName {
		return &NameError{What: what, Len: len(name)}
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || c == '{' || c == '}' {
			return &NameError{What: what, Len: len(name), Byte: c, Pos: i}
		}
	}
	return nil
}
