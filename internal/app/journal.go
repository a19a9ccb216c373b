package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/journal"
	"github.com/refreshd/refreshd/internal/refresh"
	"github.com/refreshd/refreshd/internal/seal"
)

// Names of what is sealed into a journal's record; part of its associated
// data.
const (
	fieldKept   = "journal.kept"
	fieldChange = "journal.change"
)

// sealedJournal is the local journal with its contents sealed.
type sealedJournal struct {
	journal *journal.Journal
	dir     string
	owner   string
	keys    *seal.Keyset
	log     zerolog.Logger

	installation string // whose journals this process takes up
}

func (j *sealedJournal) Intend(ctx context.Context, intents []refresh.Intent) error {
	list := make([]journal.Intent, len(intents))
	for i, intent := range intents {
		list[i] = journal.Intent{
			Nonce: intent.Nonce, ID: intent.ID, Generation: intent.Generation, Grant: intent.Grant, At: intent.At,
		}
	}
	return j.journal.Intent(ctx, list)
}

// foundForm is the plain form of a kept reply. It exists only between here and
// the seal. Tokens are bytes in it: JSON would replace those of a text that is
// not UTF-8, and with them the token.
type foundForm struct {
	Access    []byte `json:"a,omitempty"`
	Refresh   []byte `json:"r,omitempty"`
	Type      string `json:"t,omitempty"`
	Scope     string `json:"s,omitempty"`
	ExpiresIn string `json:"e,omitempty"`
	Complete  bool   `json:"c,omitempty"`

	RefreshExpiresIn string `json:"x,omitempty"`

	Method credential.Method `json:"w,omitempty"` // by which it was got

	// Where the provider called the grant dead instead: why, and what it said.
	Ended  credential.Reason `json:"d,omitempty"`
	Detail string            `json:"m,omitempty"`
}

func (j *sealedJournal) Keep(kept refresh.Kept) (durable func() error) {
	record, err := j.sealed(kept)
	if err != nil {
		return func() error { return err }
	}
	return j.journal.Hand(record)
}

// sealed makes a record of what a provider answered.
func (j *sealedJournal) sealed(kept refresh.Kept) (journal.Keep, error) {
	plain, err := json.Marshal(foundForm{
		Access: []byte(kept.Found.Token.Access.Reveal()), Refresh: []byte(kept.Found.Token.Refresh.Reveal()),
		Type: kept.Found.Token.Type, Scope: kept.Found.Token.Scope,
		ExpiresIn: kept.Found.ExpiresIn, Complete: kept.Found.Complete, RefreshExpiresIn: kept.Found.RefreshExpiresIn,
		Ended: kept.Ended.Reason, Detail: kept.Ended.Detail, Method: kept.Method,
	})
	if err != nil {
		return journal.Keep{}, errors.New("a received token has no form that can be journaled")
	}
	sealed, err := j.keys.Seal(plain, seal.AD(kept.ID, fieldKept, kept.Grant, kept.Generation))
	if err != nil {
		return journal.Keep{}, err
	}
	return journal.Keep{
		Nonce: kept.Nonce, ID: kept.ID, Generation: kept.Generation, Grant: kept.Grant, At: kept.At, Sealed: sealed,
	}, nil
}

// loginForm is the plain form of what an owner brought.
type loginForm struct {
	Provider  string            `json:"p"`
	Subject   string            `json:"u,omitempty"`
	Labels    map[string]string `json:"l,omitempty"`
	Token     foundForm         `json:"t"`
	ExpiresIn time.Duration     `json:"e,omitempty"`
	ExpiresAt credential.Millis `json:"x,omitempty"`

	RefreshExpiresIn time.Duration     `json:"f,omitempty"`
	SignIn           signInForm        `json:"i,omitzero"`
	UserData         []byte            `json:"d,omitempty"`
	AskedAt          credential.Millis `json:"q,omitempty"`
}

// signInForm is the plain form of a name and a password.
type signInForm struct {
	Username []byte `json:"n,omitempty"`
	Password []byte `json:"p,omitempty"`
}

func formOfSignIn(s credential.SignIn) signInForm {
	return signInForm{Username: []byte(s.Username.Reveal()), Password: []byte(s.Password.Reveal())}
}

func (f signInForm) signIn() credential.SignIn {
	return credential.SignIn{Username: credential.NewSecret(string(f.Username)), Password: credential.NewSecret(string(f.Password))}
}

// tokenForm is the plain form of a token.
type tokenForm struct {
	Access  []byte `json:"a,omitempty"`
	Refresh []byte `json:"r,omitempty"`
	Type    string `json:"t,omitempty"`
	Scope   string `json:"s,omitempty"`
}

func formOf(t credential.Token) tokenForm {
	return tokenForm{Access: []byte(t.Access.Reveal()), Refresh: []byte(t.Refresh.Reveal()), Type: t.Type, Scope: t.Scope}
}

func (f tokenForm) token() credential.Token {
	return credential.Token{
		Access: credential.NewSecret(string(f.Access)), Refresh: credential.NewSecret(string(f.Refresh)), Type: f.Type, Scope: f.Scope,
	}
}

// alternateForm is the plain form of an alternate.
type alternateForm struct {
	Nonce      credential.Nonce  `json:"n"`
	Generation uint64            `json:"g"`
	Token      tokenForm         `json:"t"`
	IssuedAt   credential.Millis `json:"i"`
	Lifetime   time.Duration     `json:"l"`
}

// writeForm is the plain form of a write and of what it leads to. What follows
// from the latter is not in it twice.
type writeForm struct {
	Nonce      credential.Nonce    `json:"n"`
	Revision   uint64              `json:"v"`
	Attempt    credential.Nonce    `json:"x"`
	Record     credential.Record   `json:"r"`
	NewToken   bool                `json:"w,omitempty"` // the write replaces it
	Token      tokenForm           `json:"t"`           // afterwards
	Erase      bool                `json:"e,omitempty"`
	Spent      []byte              `json:"s,omitempty"`
	Close      bool                `json:"c,omitempty"`
	Open       *credential.Attempt `json:"o,omitempty"`
	After      *credential.Attempt `json:"p,omitempty"` // open afterwards
	NewAlts    bool                `json:"b,omitempty"`
	Alternates []alternateForm     `json:"a,omitempty"` // afterwards
	NewSignIn  bool                `json:"j,omitempty"` // the write replaces it
	SignIn     signInForm          `json:"k,omitzero"`  // afterwards
	NewData    bool                `json:"m,omitempty"` // the write replaces the user data
	UserData   []byte              `json:"u,omitempty"` // if so
	Due        credential.Millis   `json:"d"`
	Events     []credential.Event  `json:"l,omitempty"`
}

func formOfWrite(w *refresh.Written) writeForm {
	f := writeForm{
		Nonce: w.Write.Nonce, Revision: w.Write.Revision, Attempt: w.Write.Attempt, Record: w.Write.Record,
		NewToken: w.Write.Token != nil, Token: formOf(w.After.Token), Erase: w.Write.Erase, Spent: []byte(w.Write.Spent.Reveal()),
		Close: w.Write.Close, Open: w.Write.Open, After: w.After.Attempt, NewAlts: w.Write.Alternates != nil,
		NewSignIn: w.Write.SignIn != nil, SignIn: formOfSignIn(w.After.SignIn),
		Due: w.Write.Due, Events: w.Write.Events,
	}
	if w.Write.UserData != nil {
		f.NewData, f.UserData = true, *w.Write.UserData
	}
	for _, alt := range w.After.Alternates {
		f.Alternates = append(f.Alternates, alternateForm{alt.Nonce, alt.Generation, formOf(alt.Token), alt.IssuedAt, alt.Lifetime})
	}
	return f
}

func (f writeForm) written() refresh.Written {
	var alternates []credential.Alternate
	for _, alt := range f.Alternates {
		alternates = append(alternates, credential.Alternate{
			Nonce: alt.Nonce, Generation: alt.Generation, Token: alt.Token.token(), IssuedAt: alt.IssuedAt, Lifetime: alt.Lifetime,
		})
	}
	w := refresh.Written{
		Write: credential.Write{
			Nonce: f.Nonce, Revision: f.Revision, Attempt: f.Attempt, Record: f.Record, Erase: f.Erase,
			Close: f.Close, Open: f.Open, Due: f.Due, Events: f.Events,
		},
		After: credential.Held{Record: f.Record, Token: f.Token.token(), Attempt: f.After, Alternates: alternates, SignIn: f.SignIn.signIn(), UserData: f.UserData},
	}
	if len(f.Spent) > 0 {
		w.Write.Spent = credential.NewSecret(string(f.Spent))
	}
	if f.NewToken {
		w.Write.Token = &w.After.Token
	}
	if f.NewAlts {
		w.Write.Alternates = &alternates
	}
	if f.NewSignIn {
		w.Write.SignIn = &w.After.SignIn
	}
	if f.NewData {
		w.Write.UserData = &w.After.UserData
	}
	return w
}

func (j *sealedJournal) Note(ctx context.Context, changes ...refresh.Change) error {
	records := make([]journal.Change, len(changes))
	for i, change := range changes {
		records[i] = journal.Change{
			Nonce: change.Nonce, ID: change.ID, Grant: change.Grant, Kind: journal.ChangeKind(change.Kind), At: change.At,
		}
		var form any
		switch {
		case change.Login != nil:
			login := change.Login
			form = loginForm{
				Provider: login.Provider, Subject: login.Subject, Labels: login.Labels,
				Token: foundForm{
					Access: []byte(login.Token.Access.Reveal()), Refresh: []byte(login.Token.Refresh.Reveal()),
					Type: login.Token.Type, Scope: login.Token.Scope,
				},
				ExpiresIn: login.ExpiresIn, ExpiresAt: login.ExpiresAt,
				RefreshExpiresIn: login.RefreshExpiresIn, SignIn: formOfSignIn(login.SignIn), UserData: login.UserData, AskedAt: login.AskedAt,
			}
		case change.Write != nil:
			form = formOfWrite(change.Write)
		default:
			continue
		}
		plain, err := json.Marshal(form)
		if err != nil {
			return errors.New("what is to be stored has no form that can be journaled")
		}
		if records[i].Payload, err = j.keys.Seal(plain, seal.AD(change.ID, fieldChange, change.Grant, 0)); err != nil {
			return err
		}
	}
	return j.journal.Change(ctx, records...)
}

func (j *sealedJournal) Drop(nonces ...credential.Nonce) { j.journal.Drop(nonces...) }

// Adopt opens the journals of dead processes. A record that cannot be opened
// keeps its journal where it is: somebody with the right keyset may come.
func (j *sealedJournal) Adopt(context.Context) ([]refresh.Dead, error) {
	if err := journal.CheckInstallation(j.dir, j.installation); err != nil {
		return nil, err // the folder was given to another one while this process runs
	}
	found, err := journal.Adopt(j.dir, j.owner)
	unread, partial := errors.AsType[*journal.UnreadError](err)
	if err != nil && !partial {
		return nil, err
	}
	if !partial {
		unread = new(journal.UnreadError)
	}
	var list []refresh.Dead
	for _, dead := range found {
		opened, err := j.open(dead)
		if err != nil {
			err = fmt.Errorf("journal %s: %w; bring back the keyset.file that it was sealed with, or, if it is of another installation, put the file back where it belongs", dead.Path(), err)
			unread.Add(dead.Owner, errors.Join(err, dead.Release()))
			continue
		}
		for _, damage := range dead.Corrupt {
			j.log.Warn().Err(damage).Str("owner", dead.Owner).
				Msg("the journal of a dead process is damaged: what can be read is taken up, what it had begun counts as sent, and the file is kept as .damaged; received tokens may be lost, so look at what ails the disk, or who changes files there")
		}
		list = append(list, opened)
	}
	return list, unread.OrNil()
}

func (j *sealedJournal) open(dead *journal.Dead) (refresh.Dead, error) {
	opened := refresh.Dead{
		Owner: dead.Owner, Remove: dead.Remove, Release: dead.Release, Damaged: len(dead.Corrupt) > 0, Order: dead.Order,
	}
	for _, intent := range dead.Intents {
		opened.Intents = append(opened.Intents, refresh.Intent{
			Nonce: intent.Nonce, ID: intent.ID, Generation: intent.Generation, Grant: intent.Grant, At: intent.At,
		})
	}
	for _, keep := range dead.Keeps {
		var form foundForm
		if err := j.unseal(keep.Sealed, seal.AD(keep.ID, fieldKept, keep.Grant, keep.Generation), &form); err != nil {
			return refresh.Dead{}, fmt.Errorf("received token of %s: %w", keep.ID, err)
		}
		opened.Kept = append(opened.Kept, refresh.Kept{
			Intent: refresh.Intent{
				Nonce: keep.Nonce, ID: keep.ID, Generation: keep.Generation, Grant: keep.Grant, At: keep.At,
			},
			Method: form.Method,
			Found:  form.found(),
			Ended:  form.ended(),
		})
	}
	for _, change := range dead.Changes {
		if change.Kind == journal.Write {
			var form writeForm
			if err := j.unseal(change.Payload, seal.AD(change.ID, fieldChange, change.Grant, 0), &form); err != nil {
				return refresh.Dead{}, fmt.Errorf("write of %s: %w", change.ID, err)
			}
			opened.Writes = append(opened.Writes, form.written())
			continue
		}
		record := refresh.Change{
			Nonce: change.Nonce, ID: change.ID, Kind: refresh.ChangeKind(change.Kind), Grant: change.Grant, At: change.At,
		}
		if change.Kind == journal.Put {
			var form loginForm
			if err := j.unseal(change.Payload, seal.AD(change.ID, fieldChange, change.Grant, 0), &form); err != nil {
				return refresh.Dead{}, fmt.Errorf("login of %s: %w", change.ID, err)
			}
			record.Login = &credential.Login{
				ID: change.ID, Provider: form.Provider, Subject: form.Subject, Labels: form.Labels,
				Token: form.Token.found().Token, ExpiresIn: form.ExpiresIn, ExpiresAt: form.ExpiresAt,
				RefreshExpiresIn: form.RefreshExpiresIn, SignIn: form.SignIn.signIn(), UserData: form.UserData, AskedAt: form.AskedAt,
			}
		}
		opened.Changes = append(opened.Changes, record)
	}
	return opened, nil
}

func (j *sealedJournal) unseal(sealed, ad []byte, into any) error {
	plain, err := j.keys.Open(sealed, ad)
	if err != nil {
		return err
	}
	if json.Unmarshal(plain, into) != nil {
		return errors.New("what was sealed cannot be read by this version") // the decoder's error would quote it
	}
	return nil
}

func (f foundForm) found() credential.Found {
	return credential.Found{
		Token: credential.Token{
			Access: credential.NewSecret(string(f.Access)), Refresh: credential.NewSecret(string(f.Refresh)), Type: f.Type, Scope: f.Scope,
		},
		ExpiresIn: f.ExpiresIn, Complete: f.Complete, RefreshExpiresIn: f.RefreshExpiresIn,
	}
}

func (f foundForm) ended() credential.Outcome {
	if f.Ended == credential.ReasonNone {
		return credential.Outcome{}
	}
	return credential.Outcome{Method: f.Method, Class: credential.ClassPermanent, Reason: f.Ended, Detail: f.Detail}
}

// noJournal is that of a process that presents no refresh token. What an owner
// does there is acknowledged once Redis has it.
type noJournal struct{}

func (noJournal) Intend(context.Context, []refresh.Intent) error { return errNoJournal }
func (noJournal) Keep(refresh.Kept) func() error                 { return func() error { return errNoJournal } }
func (noJournal) Note(context.Context, ...refresh.Change) error  { return nil }
func (noJournal) Drop(...credential.Nonce)                       {}
func (noJournal) Adopt(context.Context) ([]refresh.Dead, error)  { return nil, nil }

var errNoJournal = errors.New("this process has no journal and presents no refresh token")

// journals is where this machine's processes have their journals.
type journals struct{ dir, place string }

func (j journals) Place() string { return j.place }

func (j journals) Look(owner string) (there, locked bool, err error) {
	locked, there, err = journal.Alive(j.dir, owner)
	return there, locked, err
}

func (j journals) Owners() ([]string, error) { return journal.Owners(j.dir) }

// noJournals is that of a process without a journal: it sees nobody's.
type noJournals struct{}

func (noJournals) Place() string                   { return "" }
func (noJournals) Look(string) (bool, bool, error) { return false, false, nil }
func (noJournals) Owners() ([]string, error)       { return nil, nil }
