package house_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A bad is something that reaches refreshd from outside and is not as it
// should be. It is refused with words that say what, where and what to do, or
// it is handled; nothing is lost, nothing crashes, nothing leaks.
type bad struct {
	input string
	// proofs name the tests that fail if it were mishandled, as
	// "folder:Function", or "folder:Function/row" for a row of a table, whose
	// name must stand in the folder.
	proofs []string
	// outOfReach says why no input of this kind can get in today; then there
	// are no proofs.
	outOfReach string
}

func proven(input string, proofs ...string) bad { return bad{input: input, proofs: proofs} }

func outOfReach(input, why string) bad { return bad{input: input, outOfReach: why} }

const (
	noImport = "there is no import of files; tokens come one at a time through the API, which reads strict JSON"
	noExport = "there is no export, and nothing writes CSV"
)

// badInputs is the table of all that is meant to be tried.
func badInputs() map[string][]bad {
	return map[string][]bad{
		"the API":                         badRequests(),
		"URLs of subscriptions":           badSubscriptions(),
		"config.yaml":                     badConfigurations(),
		"files to import":                 badFiles(),
		"replies of a provider":           badReplies(),
		"receivers of webhooks":           badReceivers(),
		"clients of the event stream":     badStreams(),
		"Redis":                           badRedises(),
		"the machine":                     badMachines(),
		"every parser with a fuzz target": fuzzed(),
	}
}

func badRequests() []bad {
	return []bad{
		proven("NUL in an ID", "internal/api:TestBadIDs/NUL", "internal/api:FuzzCredentialID"),
		proven("overlong UTF-8", "internal/api:TestBadIDs/overlong UTF-8", "internal/api:TestBadBodies/overlong UTF-8"),
		proven(".. in an ID", "internal/api:TestBadIDs/climbing, escaped", "internal/api:TestRawRequests/dots"),
		proven("{} in an ID, to choose the Redis slot", "internal/api:TestBadIDs/hash tag", "internal/api:FuzzCredentialID"),
		proven("CR LF", "internal/api:TestBadIDs/CR LF", "internal/api:TestBadBodies/access token CR LF"),
		proven("nesting of 10,000", "internal/api:TestBadBodies/deep", "internal/api:TestBadBodies/deeper"),
		proven("a key twice", "internal/api:TestBadBodies/twice", "internal/api:TestBadBodies/twice in a free field"),
		proven("a life of 1e400", "internal/api:TestBadBodies/1e400", "internal/api:TestMinTTL"),
		proven("a negative life", "internal/api:TestBadBodies/negative life", "internal/api:TestMinTTL", "internal/api:FuzzSpan"),
		proven("a gzip bomb", "internal/api:TestCompressedBodies"),
		proven("Content-Length with Transfer-Encoding", "internal/api:TestSmuggling"),
		proven("a body over its limit", "internal/api:TestBodyLimits"),
		proven("a bad Last-Event-ID", "internal/api:TestBadLastEventID", "internal/event:FuzzParseCursor"),
		proven("the ID of another prefix", "internal/api:TestPrefix", "internal/api:FuzzCredentialID"),
		proven("a list of touches that is none, or too long", "internal/api:TestBadTouches", "internal/api:FuzzTouches"),
		proven("touches of another prefix's IDs", "internal/api:TestTouchMany"),
		proven("a presence that is none", "internal/api:TestBadPresences"),
		proven("a planned refresh that contradicts itself, or has passed", "internal/api:TestBadRefreshBodies", "internal/api:FuzzRefresh"),
		proven("a login that is none, or holds control characters", "internal/api:TestBadBodies/no password", "internal/api:TestBadBodies/user name with CR LF"),
		proven("user data that is too long", "internal/api:TestBadBodies/user data too long"),
		proven("a bearer of 1 MB", "internal/api:TestRawRequests/a bearer of 1 MB"),
		proven("a thousand slow clients", "internal/api:TestThousandSlowClients"),
	}
}

func badSubscriptions() []bad {
	return []bad{
		proven("127.1", "internal/webaddr:TestReceivers/https://127.1"),
		proven("2130706433", "internal/webaddr:TestReceivers/https://2130706433"),
		proven("0x7f000001", "internal/webaddr:TestReceivers/https://0x7f000001"),
		proven("[::ffff:127.0.0.1]", "internal/webaddr:TestReceivers/https://[::ffff:127.0.0.1]", "internal/delivery:TestNothingOfThisMachineIsReached"),
		proven("a user before the @", "internal/webaddr:TestReceivers/https://u:p@hooks.example"),
		proven("an internationalized name", "internal/webaddr:TestReceivers/https://hööks.example"),
		proven("a name that changes between check and dial", "internal/delivery:TestNameThatChangesBetweenCheckAndDial", "internal/provider/wire:TestCheckDialled"),
		proven("a redirect to a metadata address", "internal/delivery:TestNoRedirects", "internal/provider/oauth2:TestRedirectIsNotFollowed"),
		proven("port 6379", "internal/webaddr:TestReceivers/https://hooks.example:6379"),
		proven("link-local IPv6", "internal/delivery:TestForbiddenAddresses/fe80::1", "internal/webaddr:TestReceivers/https://[fe80::1]"),
		proven("NAT64", "internal/delivery:TestForbiddenAddresses/64:ff9b::7f00:1", "internal/webaddr:TestReceivers/https://[64:ff9b::7f00:1]"),
		proven("6to4", "internal/delivery:TestForbiddenAddresses/2002:7f00:1::", "internal/webaddr:TestReceivers/https://[2002:7f00:1::]"),
		proven("Teredo", "internal/delivery:TestForbiddenAddresses/2001::1", "internal/webaddr:TestReceivers/https://[2001::1]"),
		proven("carrier-grade NAT", "internal/delivery:TestForbiddenAddresses/100.64.0.1", "internal/webaddr:TestReceivers/https://100.64.0.1"),
	}
}

func badConfigurations() []bad {
	return []bad{
		proven("an unknown key", "internal/config:TestRefused/unknown key", "internal/config:TestRefused/unknown key in a rule"),
		proven("a provider twice", "internal/config:TestRefused/duplicate provider"),
		proven("a fetch every 16th minute", "internal/config:TestRefused/fetch */16", "internal/schedule:TestParseRefuses"),
		proven("a fetch at 0 and 59", "internal/config:TestRefused/fetch 0,59"),
		proven("a fetch every 14m59s", "internal/config:TestRefused/fetch @every 14m59s", "test/service:TestFetchScheduleUnderTheFloorIsRefused"),
		proven("a fetch with a time zone", "internal/config:TestRefused/fetch with TZ prefix", "internal/config:TestRefused/fetch with TZ=0"),
		proven("a fetch every -5m", "internal/config:TestRefused/fetch @every -5m"),
		proven("a fetch at a date that never comes", "internal/config:TestRefused/fetch that never is"),
		proven("timeouts that contradict each other", "internal/config:TestRefused/quarantine", "internal/config:TestRefused/idle above absolute"),
		proven("a Redis that evicts", "internal/redisconn:TestExternalRefused/evicting"),
		proven("a Redis that persists nothing", "internal/redisconn:TestExternalRefused/persists nothing", "internal/redisconn:TestExternalThatMayLoseWritesIsSaidSo"),
		proven("a key file that others can read", "internal/config:TestKeyFilesThatOthersCanRead", "internal/seal:TestReachableByOthersIsRefused"),
		proven("a keyset without its old key", "internal/store/storetest:metaKeyset", "internal/seal:TestOpenRefusesAnotherKeyset"),
		proven("a token URL of http:// off loopback", "internal/config:TestRefused/http:// token URL", "internal/provider/oauth2:TestNewRefuses"),
		proven("a template of an unknown field", "internal/config:TestBackendsThatAreRefused/template of unknown field", "internal/reqtemplate:TestRefused"),
		proven("an environment variable that is empty", "internal/config:TestEnvironmentThatIsWrong", "internal/config:TestSecretsThatCannotBeUsed/environment variable is empty"),
	}
}

func badFiles() []bad {
	return []bad{
		proven("a byte order mark", "internal/api:TestBadBodies/a byte order mark"),
		proven("UTF-16", "internal/api:TestBadBodies/UTF-16", "internal/config:TestRefused/UTF-16"),
		proven("a token that has expired already", "internal/refresh:TestDeadOnArrivalIsBounded", "internal/refresh:TestPut"),
		proven("a token that was stored before", "internal/refresh:TestPut", "internal/refresh:TestPutOfTheTokenThatWasRefused"),
		proven("a FIFO, a folder", "internal/config:TestSecretsThatCannotBeUsed/a pipe", "internal/config:TestSecretsThatCannotBeUsed/a folder", "internal/seal:TestNotAFile"),
		outOfReach("a CSV formula", noExport),
		outOfReach("a line of 5 GB", noImport),
		outOfReach("a last record that is cut off", noImport),
		outOfReach("a symbolic link", noImport),
		outOfReach("a path that climbs", noImport),
		outOfReach("a row that failed, and the same file again", noImport),
	}
}

func badReplies() []bad {
	const (
		table  = "internal/provider/oauth2:TestReplies"
		server = "internal/provider/oauth2:TestMisbehavingServers/"
	)
	return []bad{
		proven("every form that the practice provider knows", "internal/provider/oauth2:TestEveryMalformedForm"),
		proven("no refresh token", table, "internal/provider:TestScan"),
		proven("a refresh token that is empty, null, a number", table, "internal/provider:TestScan/not strings"),
		proven("the same refresh token again", server+"the same refresh token again"),
		proven("two refresh tokens", table, "internal/provider:TestScan/last one wins"),
		proven(`expires_in of 0, -1, "3600", "3600s", 3.6e3, 1e18, an object`, table, "internal/provider:TestClassify", "internal/credential:FuzzParseExpiresIn"),
		proven("HTML, an error, nothing, with 200", table, "internal/provider:TestClassify"),
		proven("gzip", server+"gzip", server+"gzip, not announced", server+"gzip, without its end", "internal/provider/wire:TestReplies/gzip bomb"),
		proven("a byte order mark", server+"a byte order mark"),
		proven("chunks that are cut off", server+"chunks cut off", "internal/provider/oauth2:TestReplyBreaksOff"),
		proven("a wrong Content-Length", server+"a length too long", server+"a length too short", server+"two lengths"),
		proven("form-encoded", server+"form-encoded and called JSON", table),
		proven("nested", server+"nested", server+"nested deep"),
		proven("a body without end", server+"a body without end", "internal/provider/oauth2:TestReplyTooLong"),
		proven("a byte a second", server+"a byte now and then", server+"a header byte now and then"),
		proven("Retry-After as a date, negative, 10^9", "internal/provider/oauth2:TestRetryAfterOnTheWire", "internal/provider:FuzzRetryAfter"),
		proven("a scope that shrank", "internal/provider/oauth2:TestScopeThatShrank", "internal/credential:TestInstallScope"),
		proven("307 and 308 to another host", "internal/provider/oauth2:TestRedirectIsNotFollowed", server+"307 with a token"),
		proven("a flood of 1xx", server+"a flood of interim replies", "internal/provider/wire:TestNoReply/a flood of 1xx"),
	}
}

func badReceivers() []bad {
	return []bad{
		proven("never answers", "internal/delivery:TestReceiversThatNeverEnd/never answers"),
		proven("answers 3xx", "internal/delivery:TestAnswers/redirect", "internal/delivery:TestNoRedirects"),
		proven("answers 410", "internal/delivery:TestAnswers/gone", "internal/delivery:TestPushRefused/gone"),
		proven("takes security event tokens for something else", "internal/delivery:TestPushRefused/a page"),
		proven("refuses security event tokens for reasons of its own", "internal/delivery:TestPushRefused/a code of its own", "internal/ssf:TestPollErrors"),
		proven("acknowledges what it never got", "internal/ssf:TestPoll", "internal/api:TestPollSignalsRefused"),
		proven("answers 429 with Retry-After", "internal/delivery:TestAnswers/later", "internal/delivery:FuzzReceiverRetryAfter"),
		proven("a body without end", "internal/delivery:TestAnswerWithoutEnd", "internal/delivery:TestReceiversThatNeverEnd/a body byte by byte"),
		proven("down for three days", "internal/delivery:TestReceiverDownForThreeDays", "internal/delivery:TestSchedule"),
	}
}

func badStreams() []bad {
	return []bad{
		proven("never reads", "internal/api:TestSlowClientIsDropped"),
		proven("reconnects a thousand times", "internal/api:TestReconnects"),
		proven("asks for an ID that was trimmed", "internal/api:TestStreamAfterATrim", "internal/event:TestPlace"),
	}
}

func badRedises() []bad {
	return []bad{
		proven("gone at the start", "test/service:TestRedisThatComesLater", "internal/redisconn:TestExternalThatIsNotThere"),
		proven("gone for a while", "internal/app:TestServiceWithoutItsRedis", "internal/store:TestRedisGone"),
		proven("a read-only replica", "test/service:TestRedisThatRefusesChanges/read-only replica", "internal/redisconn:TestExternalRefused/read-only replica", "internal/api:TestRedisRefusals"),
		proven("out of memory", "test/service:TestRedisThatRefusesChanges/out of memory", "internal/store:TestOutOfMemory"),
		proven("its disk is full", "test/service:TestRedisThatRefusesChanges/disk full", "internal/api:TestRedisRefusals"),
		proven("still loading", "internal/redisconn:TestExternalThatLoadsIsWaitedFor", "internal/api:TestRedisRefusals"),
		proven("CLIENT PAUSE", "test/service:TestRedisPausedAndScriptsFlushed"),
		proven("restarted empty", "test/service:TestRedisThatComesBackEmpty"),
		proven("a wrong version", "internal/redisconn:TestExternalTooOld"),
		proven("a wrong password", "internal/redisconn:TestExternalRefused/wrong password"),
		proven("its scripts flushed", "internal/store:TestScriptsFlushed", "test/service:TestRedisPausedAndScriptsFlushed"),
		proven("somebody else's keys under our prefix", "internal/store/storetest:foreignTypes", "internal/store/storetest:foreignHash", "internal/store/storetest:listUnreadable", "test/service:TestForeignKeysUnderThePrefix", "internal/api:TestListWithARecordThatCannotBeRead"),
	}
}

func badMachines() []bad {
	return []bad{
		proven("a full disk", "test/service:TestFullDiskUnderTheJournal", "internal/journal:TestFullDisk", "internal/journal:TestNoRoomIsNotFinal", "internal/api:TestFullDiskIsTold"),
		proven("a journal's folder that cannot be written to", "internal/journal:TestUnwritableFolderIsRefusedWithARemedy"),
		proven("the clock set back an hour", "internal/clock:TestStepIsTold/an hour back", "scheduler:TestWallStep/set back by an hour", "scheduler:TestAJumpOfEitherClockIsNoticedWithinSeconds"),
		proven("the clock set forward a year", "internal/clock:TestStepIsTold/a year forward", "scheduler:TestWallStep/set forward by a year"),
		proven("suspended", "internal/clock:TestSuspensionIsNoStepOfTheStore", "scheduler:TestWallStep/suspended for an hour"),
		proven("SIGTERM twice", "test/service:TestSecondStopEndsAtOnce", "cmd/refreshd:TestSecondSignalEndsAtOnce"),
		proven("no file descriptor left", "test/service:TestNoFileDescriptors"),
	}
}

func fuzzed() []bad {
	return []bad{
		proven("a provider's reply", "internal/provider:FuzzClassify", "internal/provider/wire:FuzzFramer"),
		proven("the scan for tokens, against encoding/json", "internal/provider:FuzzScan"),
		proven("Retry-After", "internal/provider:FuzzRetryAfter", "internal/delivery:FuzzReceiverRetryAfter"),
		proven("config.yaml", "internal/config:FuzzLoad"),
		proven("the template of a request", "internal/reqtemplate:FuzzParse"),
		proven("the body of a request", "internal/api:FuzzPut", "internal/api:FuzzCheckJSON"),
		proven("a list of touches", "internal/api:FuzzTouches"),
		proven("what is said of a refresh", "internal/api:FuzzRefresh"),
		proven("the address in a provider's settings", "internal/providercheck:FuzzOrigin"),
		proven("the target of a request", "internal/api:FuzzTarget", "internal/api:FuzzSpan"),
		proven("a credential's ID", "internal/api:FuzzCredentialID", "internal/credential:FuzzParseID"),
		proven("the journal", "internal/journal:FuzzReplay", "internal/journal:FuzzPayload"),
		proven("a schedule", "internal/schedule:FuzzParse"),
		proven("a cursor of events", "internal/event:FuzzParseCursor"),
		proven("a subscription's URL", "internal/webaddr:FuzzReceiver"),
		proven("an address that is dialled", "internal/delivery:FuzzCheckAddress", "internal/provider/wire:FuzzForbidden"),
		proven("a stored record", "internal/store:FuzzDecode"),
		proven("a task's payload", "tasks:FuzzDecode"),
		proven("a keyset's file", "internal/seal:FuzzFile"),
		proven("a snapshot of the in-process store", "internal/redisconn:FuzzSnapshot"),
		proven("the URL of a Redis", "internal/redisurl:FuzzParse"),
	}
}

// TestEveryBadInputHasItsProof: each input of the table has a test, and the
// test is there.
func TestEveryBadInputHasItsProof(t *testing.T) {
	t.Parallel()
	sources := map[string]string{}
	for area, list := range badInputs() {
		for _, b := range list {
			if b.outOfReach != "" {
				assert.Empty(t, b.proofs, "%s: %s", area, b.input)
				continue
			}
			assert.NotEmpty(t, b.proofs, "%s: %s has no test", area, b.input)
			for _, proof := range b.proofs {
				dir, name, ok := strings.Cut(proof, ":")
				require.True(t, ok, proof)
				function, row, _ := strings.Cut(name, "/")
				if sources[dir] == "" {
					sources[dir] = testSources(t, dir)
				}
				declared := regexp.MustCompile(`(?m)^func ` + regexp.QuoteMeta(function) + `\(`)
				// No assertion: it would print the whole of the sources.
				if !declared.MatchString(sources[dir]) {
					t.Errorf("%s: %s: there is no %s in %s", area, b.input, function, dir)
				}
				if row != "" && !strings.Contains(sources[dir], `"`+row+`"`) {
					t.Errorf("%s: %s: the tests of %s have no row %q", area, b.input, dir, row)
				}
			}
		}
	}
}

// testSources is the text of the tests in a folder. Of a suite that other
// packages run, it is the whole package.
func testSources(t *testing.T, dir string) string {
	t.Helper()
	pattern := "*_test.go"
	if strings.HasSuffix(dir, "test") {
		pattern = "*.go"
	}
	files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(dir), pattern))
	require.NoError(t, err)
	require.NotEmpty(t, files, dir)
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		all.Write(text)
	}
	return all.String()
}

// minCorpus is how many inputs stand beside each fuzz target, for the ordinary
// tests to run.
const minCorpus = 8

// TestEveryFuzzTargetHasACorpus: what a fuzz target is started from is in the
// repository, and belongs to a target that exists.
func TestEveryFuzzTargetHasACorpus(t *testing.T) {
	t.Parallel()
	pkgs, err := load(root)
	require.NoError(t, err)
	targets := regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)
	found := 0
	for _, p := range pkgs {
		folder := filepath.Join(root, filepath.FromSlash(p.dir))
		files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
		require.NoError(t, err)
		var names []string
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, match := range targets.FindAllStringSubmatch(string(text), -1) {
				names = append(names, match[1])
			}
		}
		for _, name := range names {
			found++
			if p.dir == "internal/credential" {
				continue // pure functions of short texts: their seeds stand in the tests
			}
			corpus, err := filepath.Glob(filepath.Join(folder, "testdata", "fuzz", name, "*"))
			require.NoError(t, err)
			assert.GreaterOrEqual(t, len(corpus), minCorpus, "%s in %s", name, p.dir)
		}
		corpora, err := filepath.Glob(filepath.Join(folder, "testdata", "fuzz", "*"))
		require.NoError(t, err)
		for _, corpus := range corpora {
			assert.True(t, slices.Contains(names, filepath.Base(corpus)), "%s is of no fuzz target", corpus)
		}
	}
	require.Greater(t, found, 20, "the fuzz targets are not found where they are")
}
