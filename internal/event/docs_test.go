package event

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
)

const (
	manual = "../../docs/events.md"
	// updateManual set to 1 has the test write the examples into the manual
	// instead of comparing them.
	updateManual = "REFRESHD_UPDATE_DOCS"
	// pageWidth is how long lines of an example may be.
	pageWidth = 110
)

// elsewhere lists the types whose examples cannot come from the event log.
func elsewhere() []credential.EventType {
	return []credential.EventType{
		credential.EventStreamReset, credential.EventStreamVerification, // made for one subscriber
		credential.EventReuseSuspected, credential.EventProviderOutage, credential.EventProviderRecovered, // reserved
	}
}

// The manual has a section for each type, with what the domain's own
// transitions print today.
func TestManualShowsEveryEvent(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(manual)
	require.NoError(t, err)
	told := tell(t)
	for _, kind := range credential.EventTypes() {
		at := regexp.MustCompile("(?m)^### `" + regexp.QuoteMeta(string(kind)) + "`$").FindIndex(text)
		require.NotNil(t, at, "docs/events.md has no section for %s", kind)
		event, published := told[kind]
		if !published {
			assert.Contains(t, elsewhere(), kind, "the story has to have one")
			continue
		}
		block := regexp.MustCompile("(?s)```json\n(.*?)```").FindSubmatchIndex(text[at[1]:])
		require.NotNil(t, block, "%s has no example", kind)
		from, to := at[1]+block[2], at[1]+block[3]
		if os.Getenv(updateManual) == "1" {
			text = slices.Concat(text[:from], []byte(page(t, event)), text[to:])
			continue
		}
		assert.Equal(t, page(t, event), string(text[from:to]), "%s=1 go test ./internal/event writes it anew", updateManual)
	}
	if os.Getenv(updateManual) == "1" {
		require.NoError(t, os.WriteFile(manual, text, 0o644)) //nolint:gosec // the manual is for everyone
	}
}

func TestManualListsEveryField(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(manual)
	require.NoError(t, err)
	for _, shape := range []reflect.Type{reflect.TypeFor[CloudEvent](), reflect.TypeFor[Data]()} {
		for field := range shape.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			assert.Contains(t, string(text), "\n| `"+name+"` | ", "%s.%s", shape.Name(), field.Name)
		}
	}
}

// page prints an event as the manual has it: as many members on a line as fit.
func page(t *testing.T, e CloudEvent) string {
	t.Helper()
	text, err := json.MarshalIndent(e, "", "  ")
	require.NoError(t, err)
	var lines []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		word := strings.TrimLeft(line, " ")
		depth := (len(line) - len(word)) / 2
		last := len(lines) - 1
		switch {
		case depth > 2 || depth == 2 && strings.HasPrefix(word, "}"): // labels
			if strings.HasSuffix(lines[last], ",") {
				word = " " + word
			}
			lines[last] += word
		case last > 0 && strings.HasSuffix(lines[last], ",") && strings.HasPrefix(lines[last], strings.Repeat("  ", depth)+`"`) &&
			!strings.HasSuffix(word, "{") && len(lines[last])+1+len(word) <= pageWidth:
			lines[last] += " " + word
		default:
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// story is a credential and what happens to it.
type story struct {
	t      *testing.T
	now    credential.Millis
	held   credential.Held
	policy credential.Policy
	nonces uint64
	told   map[credential.EventType]CloudEvent
}

// tell lets everything happen that has an event, and returns the first of each
// type.
func tell(t *testing.T) map[credential.EventType]CloudEvent {
	t.Helper()
	told := make(map[credential.EventType]CloudEvent)
	grant := &story{t: t, now: 1_800_000_000_000, told: told, policy: credential.Policy{
		RefreshAt: 2.0 / 3, Rotates: credential.RotatesYes, WarnBefore: 7 * 24 * time.Hour, Times: credential.DefaultTimes(0),
		RefreshAbsolute: 180 * 24 * time.Hour,
	}}
	grant.happens(credential.Connect(nil, grant.login("repo"), grant.policy, grant.nonce(), grant.now))
	grant.passes(5*time.Hour + 20*time.Minute)
	grant.refreshed("repo")
	grant.passes(5*time.Hour + 20*time.Minute)
	grant.failed(credential.ClassTransient, credential.ReasonUnavailable)
	grant.passes(3 * time.Hour)
	grant.advanced()
	grant.refreshed("repo workflow")
	grant.passes(173*24*time.Hour - 16*time.Hour)
	grant.refreshed("repo workflow")
	grant.passes(3 * time.Hour)
	grant.advanced()
	data := credential.UserData(`{"plan":"team"}`)
	write, changed := credential.TakeUserData(grant.held, data, "", grant.nonce(), credential.BySchedule, grant.now)
	require.True(t, changed)
	grant.happens(write)
	grant.failed(credential.ClassPermanent, credential.ReasonInvalidGrant)
	grant.passes(time.Hour)
	grant.happens(credential.Connect(&grant.held, grant.login("repo workflow"), grant.policy, grant.nonce(), grant.now))
	grant.happens(credential.Logout(grant.held, grant.nonce(), grant.now))
	grant.happens(credential.Delete(grant.held, grant.nonce(), grant.now))

	session := &story{t: t, now: 1_800_000_000_000, told: told, policy: credential.Policy{
		Times: credential.DefaultTimes(0), CanLogin: true,
		Sessions: credential.SessionPolicy{Idle: 15 * time.Minute, Extend: true, WarnBefore: 2 * time.Minute},
	}}
	login := credential.Login{ID: "airline:bob", Provider: "airline", Subject: "u-9", Token: credential.Token{Access: credential.NewSecret("s")}}
	session.happens(credential.Connect(nil, login, session.policy, session.nonce(), session.now))
	write, changed = credential.SetPresence(session.held, credential.PresenceActive, session.policy, session.nonce(), session.now)
	require.True(t, changed)
	session.happens(write)
	session.passes(13 * time.Minute)
	session.advanced()
	session.begins()
	got := credential.Received{Method: credential.MethodExtend, SentAt: session.now}
	session.happens(credential.Extend(session.held, *session.held.Attempt, got, session.policy, credential.BySchedule, session.now))

	client := &story{t: t, now: 1_800_000_000_000, told: told}
	client.happens(credential.Trip(nil, "github", "alice", credential.Outcome{Class: credential.ClassOperator, Reason: credential.ReasonClientMisconfigured}, client.nonce(), client.now))
	client.passes(time.Hour)
	recovered, _ := credential.Accept(client.held, "alice", client.nonce(), client.now)
	client.happens(recovered)

	notice := credential.Event{
		Type: credential.EventSubscriptionLagging, InitiatedBy: credential.BySchedule, Nonce: client.nonce(),
		Notice: credential.Notice{Subscription: "ui", Since: client.now, Oldest: client.now.Add(-72 * time.Hour)},
	}
	client.tell(notice)
	notice.Type, notice.Reason, notice.Nonce = credential.EventSubscriptionDisabled, credential.ReasonUndeliverable, client.nonce()
	notice.Notice.Event = "github:alice/2/9f86d081"
	client.tell(notice)
	return told
}

func (s *story) passes(d time.Duration) { s.now = s.now.Add(d) }

func (s *story) nonce() credential.Nonce {
	s.nonces++
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, s.nonces))
	n := credential.Nonce(sum[:16])
	if s.held.Record.ID.IsClient() { // its notices have ULIDs, which begin with the moment
		copy(n[:6], binary.BigEndian.AppendUint64(nil, uint64(s.now))[2:]) //nolint:gosec // after 1970
	}
	return n
}

func (s *story) login(scope string) credential.Login {
	return credential.Login{
		ID: "github:alice", Provider: "github", Subject: "u-7", Labels: map[string]string{"team": "blue"},
		Token: s.token(scope), ExpiresIn: 8 * time.Hour, UserData: credential.UserData(`{"plan":"free"}`),
	}
}

func (s *story) token(scope string) credential.Token {
	return credential.Token{Access: credential.NewSecret("a"), Refresh: credential.NewSecret("r"), Scope: scope}
}

func (s *story) begins() {
	s.t.Helper()
	refused, attempt := credential.Grant(s.held, credential.Begin{Nonce: s.nonce(), Owner: "owner", Lasts: time.Minute, Force: true}, s.now)
	require.Empty(s.t, refused)
	s.held.Attempt = attempt
}

func (s *story) refreshed(scope string) {
	s.t.Helper()
	s.begins()
	got := credential.Received{Method: credential.MethodRefresh, Token: s.token(scope), SentAt: s.now, ExpiresIn: 8 * time.Hour}
	s.happens(credential.Install(s.held, *s.held.Attempt, got, s.policy, credential.BySchedule, s.now))
}

func (s *story) failed(class credential.Class, reason credential.Reason) {
	s.t.Helper()
	s.begins()
	o := credential.Outcome{Method: credential.MethodRefresh, Class: class, Reason: reason}
	s.happens(credential.Fail(s.held, *s.held.Attempt, o, s.policy, credential.BySchedule, s.now))
}

func (s *story) advanced() {
	s.t.Helper()
	write, changed := credential.Advance(s.held, s.policy, s.nonce(), s.now)
	require.True(s.t, changed)
	s.happens(write)
}

func (s *story) happens(w credential.Write) {
	s.held = w.Result(s.held)
	for _, e := range w.Events {
		s.tell(e)
	}
}

func (s *story) tell(e credential.Event) {
	if _, before := s.told[e.Type]; !before {
		s.told[e.Type] = Expand(credential.LogEntry{Event: e, At: s.now}, "urn:refreshd:9f2c7a4e1b", Filter{})
	}
}
