package store

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/internal/credential"
)

func genMillis() *rapid.Generator[credential.Millis] {
	return rapid.Custom(func(t *rapid.T) credential.Millis {
		return credential.Millis(rapid.OneOf(
			rapid.Just(int64(0)), rapid.Int64Range(1_700_000_000_000, 1_900_000_000_000), rapid.Int64(),
		).Draw(t, "ms"))
	})
}

func genNonce() *rapid.Generator[credential.Nonce] {
	return rapid.Custom(func(t *rapid.T) (n credential.Nonce) {
		copy(n[:], rapid.SliceOfN(rapid.Byte(), len(n), len(n)).Draw(t, "nonce"))
		return n
	})
}

func genMACs() *rapid.Generator[[]credential.MAC] {
	return rapid.Custom(func(t *rapid.T) []credential.MAC {
		var list []credential.MAC
		for range rapid.IntRange(0, credential.MaxSpent).Draw(t, "spent") {
			list = append(list, credential.MAC(genNonce().Draw(t, "mac")))
		}
		return list
	})
}

func genRefused() *rapid.Generator[[]credential.ID] {
	return rapid.Custom(func(t *rapid.T) []credential.ID {
		var list []credential.ID
		for range rapid.IntRange(0, credential.MaxRefused).Draw(t, "refused") {
			list = append(list, credential.ID(rapid.String().Draw(t, "ID")))
		}
		return list
	})
}

func genLabels() *rapid.Generator[map[string]string] {
	return rapid.Custom(func(t *rapid.T) map[string]string {
		m := rapid.MapOfN(rapid.String(), rapid.String(), 0, 5).Draw(t, "labels")
		if len(m) == 0 {
			return nil
		}
		return m
	})
}

func genLast() *rapid.Generator[map[credential.EventType]uint64] {
	return rapid.Custom(func(t *rapid.T) map[credential.EventType]uint64 {
		m := rapid.MapOfN(rapid.SampledFrom(credential.EventTypes()), rapid.Uint64(), 0, 23).Draw(t, "last")
		if len(m) == 0 {
			return nil
		}
		return m
	})
}

func states() []credential.State { return append(credential.States(), credential.StateDeleted) }

func genProvider() *rapid.Generator[string] { return rapid.StringMatching(`[!-z|~]{1,40}`) }

func genDuration() *rapid.Generator[time.Duration] {
	return rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(-1, int64(time.Hour)), rapid.Int64()).Draw(t, "ns"))
	})
}

func genSession() *rapid.Generator[credential.Session] {
	return rapid.Custom(func(t *rapid.T) credential.Session {
		return credential.Session{
			Idle: genDuration().Draw(t, "idle"), ExtendAfter: genDuration().Draw(t, "extend after"), WarnBefore: genDuration().Draw(t, "warn before"),
			CountdownAt: genMillis().Draw(t, "countdown"), Ended: rapid.Bool().Draw(t, "ended"),
			StartedAt: genMillis().Draw(t, "started"), TokenEndsAt: genMillis().Draw(t, "token"), Successor: credential.Successor{
				At: genMillis().Draw(t, "successor"), Failures: int(rapid.Int32().Draw(t, "failed logins")), Refused: rapid.Bool().Draw(t, "refused"),
			},
		}
	})
}

func genLearned() *rapid.Generator[credential.Learned] {
	return rapid.Custom(func(t *rapid.T) credential.Learned {
		return credential.Learned{
			Early: int(rapid.Int32().Draw(t, "early")), Age: genDuration().Draw(t, "age"), Life: genDuration().Draw(t, "life"),
		}
	})
}

func genRecord() *rapid.Generator[credential.Record] {
	return rapid.Custom(func(t *rapid.T) credential.Record {
		ms := func(name string) credential.Millis { return genMillis().Draw(t, name) }
		return credential.Record{
			ID: "alice", Provider: genProvider().Draw(t, "provider"), Subject: rapid.String().Draw(t, "subject"),
			Labels: genLabels().Draw(t, "labels"), State: rapid.SampledFrom(states()).Draw(t, "state"),
			Reason: credential.Reason(rapid.String().Draw(t, "reason")), Since: ms("since"),
			Version: rapid.Uint64().Draw(t, "version"), Revision: rapid.Uint64Min(1).Draw(t, "revision"),
			Generation: rapid.Uint64().Draw(t, "generation"), Grant: rapid.Uint64().Draw(t, "grant"), Acts: rapid.Uint64().Draw(t, "acts"), Plans: rapid.Uint64().Draw(t, "plans"),
			CreatedAt: ms("created"), UpdatedAt: ms("updated"), GrantedAt: ms("granted"), AskedAt: ms("asked"), IssuedAt: ms("issued"),
			Lifetime: time.Duration(rapid.Int64().Draw(t, "lifetime")), ExpiresAt: ms("expires"), RefreshAt: ms("refresh"),
			LimitAt: ms("limit"), WarnAt: ms("warn"), Refreshable: rapid.Bool().Draw(t, "refreshable"),
			HasRefresh: rapid.Bool().Draw(t, "has refresh"), HasLogin: rapid.Bool().Draw(t, "has login"), Session: genSession().Draw(t, "session"),
			Presence: rapid.SampledFrom(append(credential.Presences(), "")).Draw(t, "presence"), Paused: rapid.Bool().Draw(t, "paused"),
			OnceAt: ms("once"), Learned: genLearned().Draw(t, "learned"),
			Failures:  int(rapid.Int32().Draw(t, "failures")),
			Rotations: credential.Rotated{Seen: rapid.Bool().Draw(t, "seen"), Kept: int(rapid.Int32().Draw(t, "kept"))},
			LastAttempt: credential.Attempts{
				SucceededAt: ms("succeeded"), FailedAt: ms("failed"),
				Failure: credential.Reason(rapid.String().Draw(t, "failure")), Detail: rapid.String().Draw(t, "detail"),
			},
			RefreshOnly: rapid.Uint64().Draw(t, "refresh only"), Rejected: rapid.Uint64().Draw(t, "rejected"), Spent: genMACs().Draw(t, "macs"),
			LastEvents: genLast().Draw(t, "events"), LastWrite: genNonce().Draw(t, "write"), Refused: genRefused().Draw(t, "refused"),
		}
	})
}

func TestRecordComesBackAsItWas(t *testing.T) {
	t.Parallel()
	table := newEventTable()
	rapid.Check(t, func(t *rapid.T) {
		want := genRecord().Draw(t, "record")
		h, r, err := table.appendRecord(nil, nil, want)
		require.NoError(t, err)
		got, err := table.decodeRecord("key", want.ID, string(h), string(r))
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(want, got))
		againH, againR, err := table.appendRecord(nil, nil, got)
		require.NoError(t, err)
		require.Equal(t, h, againH)
		require.Equal(t, r, againR, "equal records have equal bytes")
	})
}

func TestAttemptComesBackAsItWas(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ms := func(name string) credential.Millis { return genMillis().Draw(t, name) }
		want := credential.Attempt{
			Nonce: genNonce().Draw(t, "nonce"), Owner: genProvider().Draw(t, "owner"),
			Generation: rapid.Uint64().Draw(t, "generation"), Grant: rapid.Uint64().Draw(t, "grant"),
			BegunAt: ms("begun"), Deadline: ms("deadline"), Doubt: rapid.Bool().Draw(t, "doubt"),
			RecoverAt: ms("recover"), FirstSent: ms("first"), Recovery: rapid.Bool().Draw(t, "recovery"),
		}
		o, err := encodeAttempt(want)
		require.NoError(t, err)
		got, err := decodeAttempt("key", string(o))
		require.NoError(t, err)
		require.Equal(t, &want, got)
	})
}

func genEvent() *rapid.Generator[credential.Event] {
	return rapid.Custom(func(t *rapid.T) credential.Event {
		e := credential.Event{
			Type: rapid.SampledFrom(credential.EventTypes()).Draw(t, "type"), ID: credential.ID(rapid.String().Draw(t, "id")),
			Version: rapid.Uint64().Draw(t, "version"), State: rapid.SampledFrom(append(states(), "")).Draw(t, "state"),
			PreviousState: rapid.SampledFrom(append(states(), "")).Draw(t, "before"), Reason: credential.Reason(rapid.String().Draw(t, "reason")),
			InitiatedBy: rapid.SampledFrom([]credential.Initiator{
				credential.BySchedule, credential.ByDemand, credential.ByOwner, credential.ByUser, credential.ByProvider,
			}).Draw(t, "by"),
			Nonce: genNonce().Draw(t, "nonce"), ExpiresAt: genMillis().Draw(t, "expires"),
			Provider: rapid.String().Draw(t, "provider"), Subject: rapid.String().Draw(t, "subject"),
			Labels: genLabels().Draw(t, "labels"), Last: genLast().Draw(t, "last"),
		}
		if rapid.Bool().Draw(t, "about a subscription") {
			e.Notice = credential.Notice{
				Subscription: rapid.String().Draw(t, "subscription"), Since: genMillis().Draw(t, "since"),
				Oldest: genMillis().Draw(t, "oldest"), Event: rapid.String().Draw(t, "undelivered"),
			}
		}
		return e
	})
}

func TestEventComesBackAsItWas(t *testing.T) {
	t.Parallel()
	table := newEventTable()
	rapid.Check(t, func(t *rapid.T) {
		want := genEvent().Draw(t, "event")
		line, err := table.appendEvent(nil, want)
		require.NoError(t, err)
		got, err := table.decodeEvent(string(line))
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(want, got))
	})
}

func genToken() *rapid.Generator[credential.Token] {
	return rapid.Custom(func(t *rapid.T) credential.Token {
		return credential.Token{
			Access: credential.NewSecret(rapid.String().Draw(t, "access")), Refresh: credential.NewSecret(rapid.String().Draw(t, "refresh")),
			Type: rapid.String().Draw(t, "type"), Scope: rapid.String().Draw(t, "scope"),
		}
	})
}

func TestSecretsComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	same := func(t *rapid.T, want, got credential.Token) {
		require.True(t, got.Access.Equal(want.Access))
		require.True(t, got.Refresh.Equal(want.Refresh))
		require.Equal(t, want.Type, got.Type)
		require.Equal(t, want.Scope, got.Scope)
	}
	rapid.Check(t, func(t *rapid.T) {
		want := genToken().Draw(t, "token")
		got, err := decodeToken(string(appendToken([]byte{secretFormat}, want)))
		require.NoError(t, err)
		same(t, want, got)

		var list []credential.Alternate
		for range rapid.IntRange(0, 4).Draw(t, "alternates") {
			list = append(list, credential.Alternate{
				Nonce: genNonce().Draw(t, "nonce"), Generation: rapid.Uint64().Draw(t, "generation"), Token: genToken().Draw(t, "token"),
				IssuedAt: genMillis().Draw(t, "issued"), Lifetime: time.Duration(rapid.Int64().Draw(t, "lifetime")),
			})
		}
		back, err := decodeAlternates(string(appendAlternates(nil, list)))
		require.NoError(t, err)
		require.Len(t, back, len(list))
		for i := range list {
			same(t, list[i].Token, back[i].Token)
			back[i].Token, list[i].Token = credential.Token{}, credential.Token{}
			require.Equal(t, list[i], back[i])
		}

		in := credential.SignIn{
			Username: credential.NewSecret(rapid.String().Draw(t, "username")), Password: credential.NewSecret(rapid.String().Draw(t, "password")),
		}
		gotIn, err := decodeSignIn(string(appendSignIn(nil, in)))
		require.NoError(t, err)
		require.True(t, gotIn.Username.Equal(in.Username))
		require.True(t, gotIn.Password.Equal(in.Password))
		data := credential.UserData(rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "user data"))
		gotData, err := decodeUserData(appendUserData(nil, data))
		require.NoError(t, err)
		require.Equal(t, data, gotData)
	})
}

// fill sets every field of v, and of what is inside it, to something that is
// not its zero value.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(t, field)
		}
	case reflect.String:
		switch v.Interface().(type) {
		case credential.State:
			v.SetString(string(credential.StateDegraded))
		case credential.EventType:
			v.SetString(string(credential.EventExpired))
		case credential.Initiator:
			v.SetString(string(credential.ByUser))
		case credential.Presence:
			v.SetString(string(credential.PresenceActive))
		default:
			v.SetString("text")
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint64:
		v.SetUint(9)
	case reflect.Uint8:
		v.SetUint(3)
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0))
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, key)
		fill(t, value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	default:
		t.Fatalf("a field of kind %s: teach fill about it", v.Kind())
	}
}

// TestEveryFieldIsStored fails when the domain gets a field that no codec
// knows.
func TestEveryFieldIsStored(t *testing.T) {
	t.Parallel()
	table := newEventTable()
	t.Run("record", func(t *testing.T) {
		t.Parallel()
		var want credential.Record
		fill(t, reflect.ValueOf(&want).Elem())
		h, r, err := table.appendRecord(nil, nil, want)
		require.NoError(t, err)
		got, err := table.decodeRecord("key", want.ID, string(h), string(r))
		require.NoError(t, err)
		assert.Empty(t, cmp.Diff(want, got))
	})
	t.Run("attempt", func(t *testing.T) {
		t.Parallel()
		var want credential.Attempt
		fill(t, reflect.ValueOf(&want).Elem())
		o, err := encodeAttempt(want)
		require.NoError(t, err)
		got, err := decodeAttempt("key", string(o))
		require.NoError(t, err)
		assert.Empty(t, cmp.Diff(&want, got))
	})
	t.Run("event", func(t *testing.T) {
		t.Parallel()
		var want credential.Event
		fill(t, reflect.ValueOf(&want).Elem())
		line, err := table.appendEvent(nil, want)
		require.NoError(t, err)
		got, err := table.decodeEvent(string(line))
		require.NoError(t, err)
		assert.Empty(t, cmp.Diff(want, got))
	})
	t.Run("token and alternate", func(t *testing.T) {
		t.Parallel()
		assert.Equal(t, 4, reflect.TypeFor[credential.Token]().NumField())
		assert.Equal(t, 5, reflect.TypeFor[credential.Alternate]().NumField())
		assert.Equal(t, 2, reflect.TypeFor[credential.SignIn]().NumField())
	})
}

func TestEveryCodeIsItsOwn(t *testing.T) {
	t.Parallel()
	seen := map[byte]credential.State{}
	for _, s := range states() {
		code := stateCode(s)
		require.NotZero(t, code, s)
		require.NotContains(t, seen, code)
		seen[code] = s
		back, err := stateOf(code)
		require.NoError(t, err)
		assert.Equal(t, s, back)
		assert.Equal(t, s.Terminal(), strings.ContainsRune("rlx", rune(code)), "the scripts know %s", s)
	}
}

func TestDecodeRecordRefusals(t *testing.T) {
	t.Parallel()
	table := newEventTable()
	head, rest, err := table.appendRecord(nil, nil, credential.Record{ID: "alice", Provider: "acme", State: credential.StateActive, Revision: 1, Subject: "s3cr3t"})
	require.NoError(t, err)
	h, r := string(head), string(rest)
	for name, bad := range map[string]struct{ h, r, field string }{
		"no head":         {"", r, "h"},
		"no rest":         {h, "", "r"},
		"head cut off":    {h[:len(h)-1], r, "h"},
		"rest cut off":    {h, r[:len(r)-2], "r"}, // without its last byte it is one of before there were ways
		"flags unknown":   {h, r[:len(r)-1] + "\x80\x10", "r"},
		"flags cut off":   {h, r[:len(r)-1] + "\x80", "r"},
		"no session":      {h, r[:len(r)-1] + "\x20", "r"},
		"no once":         {h, r[:len(r)-1] + "\x40\x02", "r"},
		"nothing learned": {h, r[:len(r)-1] + "\x80\x01", "r"},
		"more behind":     {h, r + "x", "r"},
		"no revision":     {strings.Replace(h, "1 1 ", "1 0 ", 1), r, "h"},
		"schema 0":        {"0" + h[1:], r, "h"},
		"schema no text":  {"x" + h[1:], r, "h"},
		"unknown state":   {strings.Replace(h, " a0 ", " q0 ", 1), r, "h"},
		"flags too long":  {strings.Replace(h, " a0 ", " a00 ", 1), r, "h"},
		"a word more":     {h + " x", r, "h"},
		"six words more":  {h + " 1 2 3 4 5 6", r, "h"},
		"nine more":       {h + " 1 2 3 4 5 6 7 8 9", r, "h"},
		"not a number":    {h + " 1 2 3 4 5 6 x", r, "h"},
		"a word less":     {strings.Replace(h, " acme ", " ", 1), r, "h"},
		"a huge length":   {h, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "r"},
		"a length of ten": {h, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "r"},
	} {
		_, err := table.decodeRecord("rd:key", "alice", bad.h, bad.r)
		corrupt := new(CorruptError)
		if assert.ErrorAs(t, err, &corrupt, name) {
			assert.Equal(t, "rd:key", corrupt.Key, name)
			assert.Equal(t, bad.field, corrupt.Field, name)
			assert.NotContains(t, err.Error(), "s3cr3t", name)
		}
	}
	_, err = table.decodeRecord("rd:key", "alice", "2 made by a newer version", "")
	newer := new(SchemaError)
	require.ErrorAs(t, err, &newer)
	assert.Equal(t, SchemaError{Key: "rd:key", Found: 2, Known: 1}, *newer)
}

func FuzzDecode(f *testing.F) {
	table := newEventTable()
	rec := credential.Record{
		ID: "alice", Provider: "acme", State: credential.StateActive, Revision: 3, Labels: map[string]string{"a": "b"},
		Spent: []credential.MAC{{1}}, LastEvents: lastEvents(credential.EventRefreshed),
	}
	h, r, err := table.appendRecord(nil, nil, rec)
	require.NoError(f, err)
	o, err := encodeAttempt(credential.Attempt{Owner: "x"})
	require.NoError(f, err)
	e, err := table.appendEvent(nil, credential.Event{Type: credential.EventRefreshed, InitiatedBy: credential.ByUser, ID: "alice"})
	require.NoError(f, err)
	token := credential.Token{Access: credential.NewSecret("a"), Refresh: credential.NewSecret("b")}
	session := rec
	session.Session, session.Presence, session.OnceAt = credential.Session{Idle: time.Hour, ExtendAfter: time.Minute}, credential.PresenceActive, 5
	session.Learned = credential.Learned{Early: 1, Age: time.Minute}
	sh, sr, err := table.appendRecord(nil, nil, session)
	require.NoError(f, err)
	in := credential.SignIn{Username: credential.NewSecret("a"), Password: credential.NewSecret("b")}
	for _, seed := range [][]byte{
		h, r, o, e, sh, sr, appendToken([]byte{1}, token), appendAlternates(nil, []credential.Alternate{{Token: token}}),
		appendSignIn(nil, in), appendUserData(nil, credential.UserData("{}")),
	} {
		f.Add(string(seed))
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, stored := range [][2]string{{s, string(r)}, {string(h), s}} {
			got, err := table.decodeRecord("key", "alice", stored[0], stored[1])
			if err != nil {
				continue
			}
			againH, againR, err := table.appendRecord(nil, nil, got)
			require.NoError(t, err, "what can be read can be written")
			back, err := table.decodeRecord("key", "alice", string(againH), string(againR))
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(got, back))
		}
		if got, err := decodeAttempt("key", s); err == nil && got != nil {
			_, err := encodeAttempt(*got)
			require.NoError(t, err)
		}
		if got, err := table.decodeEvent(s); err == nil {
			_, err := table.appendEvent(nil, got)
			require.NoError(t, err)
		}
		_, _ = decodeToken(s)
		_, _ = decodeAlternates(s)
		_, _ = decodeSignIn(s)
		_, _ = decodeUserData([]byte(s))
		if got, err := withTouch("key", session, s); err == nil && s != "" {
			require.GreaterOrEqual(t, got.IssuedAt, session.IssuedAt)
		}
	})
}

// lastEvents gives the types versions in their order.
func lastEvents(types ...credential.EventType) map[credential.EventType]uint64 {
	last := make(map[credential.EventType]uint64, len(types))
	for i, kind := range types {
		last[kind] = uint64(i) + 1
	}
	return last
}

func benchRecord() credential.Record {
	return credential.Record{
		ID: "account-0000001", Provider: "acme", Subject: "user-4711", Labels: map[string]string{"team": "blue"},
		State: credential.StateActive, Since: 1_800_000_000_000, Version: 17, Revision: 40, Generation: 16, Grant: 1,
		CreatedAt: 1_800_000_000_000, UpdatedAt: 1_800_000_000_000, GrantedAt: 1_800_000_000_000, IssuedAt: 1_800_000_000_000,
		Lifetime: time.Hour, ExpiresAt: 1_800_003_600_000, RefreshAt: 1_800_002_400_000, Refreshable: true,
		Rotations: credential.Rotated{Seen: true}, LastAttempt: credential.Attempts{SucceededAt: 1_800_000_000_000},
		Spent:      make([]credential.MAC, credential.MaxSpent),
		LastEvents: lastEvents(credential.EventConnected, credential.EventDegraded, credential.EventRefreshed),
	}
}

func BenchmarkRecordEncode(b *testing.B) {
	table, rec := newEventTable(), benchRecord()
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := table.appendRecord(make([]byte, 0, 160), make([]byte, 0, 480), rec); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRecordDecode(b *testing.B) {
	table := newEventTable()
	head, rest, err := table.appendRecord(nil, nil, benchRecord())
	require.NoError(b, err)
	h, r := string(head), string(rest)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := table.decodeRecord("key", "account-0000001", h, r); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(h)+len(r)), "bytes")
}

func BenchmarkEventEncodeDecode(b *testing.B) {
	table := newEventTable()
	e := credential.Event{
		Type: credential.EventRefreshed, ID: "account-0000001", Version: 17, State: credential.StateActive, PreviousState: credential.StateActive,
		InitiatedBy: credential.BySchedule, ExpiresAt: 1_800_003_600_000, Provider: "acme", Subject: "user-4711",
		Labels: map[string]string{"team": "blue"}, Last: benchRecord().LastEvents,
	}
	b.ReportAllocs()
	for b.Loop() {
		line, err := table.appendEvent(make([]byte, 0, 192), e)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := table.decodeEvent(string(line)); err != nil {
			b.Fatal(err)
		}
	}
}

func TestGroupsKeepOrderAndNeverPairAnID(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := &Store{shards: allShardKeys(rapid.IntRange(1, 7).Draw(t, "shards"))}
		ids := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) credential.ID {
			return credential.ID(fmt.Sprint(rapid.IntRange(0, 300).Draw(t, "id")))
		}), 1, 1500).Draw(t, "ids")
		seen := make([]bool, len(ids))
		last := map[credential.ID]int{}
		for _, g := range s.groups(len(ids), func(i int) credential.ID { return ids[i] }) {
			require.LessOrEqual(t, len(g.at), perScript)
			once := map[credential.ID]bool{}
			for _, i := range g.at {
				require.Equal(t, g.shard, s.ShardOf(ids[i]))
				require.False(t, seen[i])
				require.False(t, once[ids[i]], "twice in one script")
				if before, ok := last[ids[i]]; ok {
					require.Less(t, before, i, "in the order of the list")
				}
				seen[i], once[ids[i]], last[ids[i]] = true, true, i
			}
		}
		require.NotContains(t, seen, false)
	})
}
