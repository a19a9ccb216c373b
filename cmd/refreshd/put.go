package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

const putHelp = `Store a credential, or a new token or login for one that exists.

The token is read as JSON from the standard input, or from --token-file; it
never stands in an argument, where other users could see it:

    {"access_token": "…", "refresh_token": "…", "expires_in": 3600}

Beside expires_in (seconds), expires_at (RFC 3339), refresh_expires_in (seconds),
token_type and scope are understood; a provider's whole reply will do. A refresh
token that was used before under this ID is refused. Store each under one ID
only: under two, both would present it.

For a provider of kind http that has a login call, give --username and the
password on the standard input, in a file or in a variable of the environment:

    refreshd put shop:alice --provider shop --username alice@example.com < password.txt
    refreshd put shop:alice --provider shop --username alice@example.com --password-env SHOP_PASSWORD

The service signs in before it answers. Exit code 4 means that the backend does
not take name and password, and nothing was stored. While the backend is away
or held back, a credential whose token still works is left as it is, and the
login has to be sent again; any other is pending, and the service signs in as
soon as it can. With --token-file beside it, that token is used now, and name
and password are kept for later.

--user-data-file stores what is to be known of the user, as JSON.`

// maxSecretFile bounds what is read of a file with a secret.
const maxSecretFile = 1 << 20

// putFlags are what put was called with.
type putFlags struct {
	provider, subject, token, username, passwordFile, passwordEnv, userData string

	labels    []string
	withToken bool // a file with a token was named
}

func (p *program) putCommand() *cobra.Command {
	var f putFlags
	cmd := &cobra.Command{
		Use: "put ID --provider NAME < token.json", Short: "Store a credential or log in again", Long: putHelp, Args: args("ID"),
		RunE: func(cmd *cobra.Command, given []string) error {
			f.withToken = cmd.Flags().Changed("token-file")
			body, err := p.putBody(f)
			if err != nil {
				return err
			}
			r, err := p.connect()
			if err != nil {
				return err
			}
			one, held, err := p.shownRecord(cmd, r, http.MethodPut, credentialPath(given[0]), body)
			err = byOption(err, "path.id", "the ID", "body.provider", "--provider", "body.subject", "--subject", "body.labels", "--label", "body.user_data", "--user-data-file",
				"body.login.username", "--username", "body.login.password", "the password", "body.token.", "the token's ", "body.token", "the token")
			if one.Unchanged {
				p.say("nothing was changed: that token is in store. An access token that came beside a stored refresh token is not taken: run refreshd refresh %s for a new one", given[0])
			}
			p.sayMissing(one.Missing)
			if err == nil && one.State == statePending {
				p.sayPending(r.awaitFailure(cmd.Context(), one, held), held)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&f.provider, "provider", "", "provider of config.yaml that issued the token, or signs in (required)")
	cmd.Flags().StringVar(&f.subject, "subject", "", "the user's UID at the provider")
	cmd.Flags().StringArrayVar(&f.labels, "label", nil, "k=v, repeatable")
	cmd.Flags().StringVar(&f.token, "token-file", "-", "file with the token as JSON; - is the standard input")
	cmd.Flags().StringVar(&f.username, "username", "", "sign in with this name, and a password")
	cmd.Flags().StringVar(&f.passwordFile, "password-file", "-", "file with the password; - is the standard input")
	cmd.Flags().StringVar(&f.passwordEnv, "password-env", "", "variable of the environment with the password, in place of --password-file")
	cmd.Flags().StringVar(&f.userData, "user-data-file", "", "file with what is to be known of the user, as JSON")
	return cmd
}

// awaitFailure reads a record without a token again until it tells of a failure,
// for a moment: the login that was made at once leaves none, and the next one
// follows soon. Whatever stands in its way, what is known is returned.
func (r *remote) awaitFailure(ctx context.Context, one record, held pauses) record {
	ctx, cancel := context.WithTimeout(ctx, failureWithin)
	defer cancel()
	tick := time.NewTicker(failureWithin / 10)
	defer tick.Stop()
	for one.HasLogin && one.State == statePending && one.Failure == nil && len(held.notes(one)) == 0 {
		select {
		case <-ctx.Done():
			return one
		case <-tick.C:
		}
		var now record
		if r.call(ctx, http.MethodGet, credentialPath(one.ID), nil, &now) != nil {
			return one
		}
		one = now
	}
	return one
}

// failureWithin bounds how long put waits to learn why there was no login.
const failureWithin = 3 * time.Second

// sayPending says why what was stored has no token yet, and when it will.
func (p *program) sayPending(one record, held pauses) {
	if one.State != statePending {
		p.say("it is %s by now", one.State)
		return
	}
	why := held.why(one)
	said := "no access token yet"
	if one.HasLogin {
		said = "not signed in yet"
	}
	if len(why) > 0 {
		said += ": " + strings.Join(why, ", ")
	}
	switch {
	case held.refused(one):
		said += "; the provider is tried once a minute, and this is done when it takes the client again: see refreshd provider check " + one.Provider
	case one.DueAt != nil && len(held.of(one)) == 0:
		said += "; it is done again at " + held.due(one).Format(time.RFC3339)
	}
	p.say("%s", said)
}

// putBody is what is sent. Everything that is wrong with it here is said before
// the service is asked.
func (p *program) putBody(f putFlags) (map[string]any, error) {
	if f.provider == "" {
		return nil, usage(errors.New("--provider is missing; name the provider of config.yaml that issued the token, or that signs in"))
	}
	body := map[string]any{"provider": f.provider}
	if f.username != "" {
		if f.withToken && f.token == "-" && f.passwordFile == "-" && f.passwordEnv == "" {
			return nil, usage(errors.New("token and password cannot both come from the standard input; give --password-file or --password-env"))
		}
		password, err := p.readPassword(f.passwordFile, f.passwordEnv)
		if err != nil {
			return nil, err
		}
		body["login"] = map[string]string{"username": f.username, "password": password}
	} else if f.passwordEnv != "" || f.passwordFile != "-" {
		return nil, usage(errors.New("a password needs --username beside it"))
	}
	if f.username == "" || f.withToken {
		token, err := p.readToken(f.token)
		if err != nil {
			return nil, err
		}
		body["token"] = token
	}
	if f.userData != "" {
		data, err := readUserData(f.userData)
		if err != nil {
			return nil, err
		}
		body["user_data"] = data
	}
	if f.subject != "" {
		body["subject"] = f.subject
	}
	labels, err := parseLabels(f.labels)
	if err != nil {
		return nil, err
	}
	if len(labels) > 0 {
		body["labels"] = labels
	}
	return body, nil
}

// open opens a file that the user names; - is the standard input.
func (p *program) open(file string) (io.Reader, func(), error) {
	if file == "-" {
		return p.in, func() {}, nil
	}
	f, err := os.Open(file) //nolint:gosec // the user names the file
	if err != nil {
		return nil, nil, usage(err)
	}
	return f, func() { _ = f.Close() }, nil // only read from
}

// readPassword takes a password from the environment or a file, without the end
// of its line. At a terminal it is asked for, and not shown.
func (p *program) readPassword(file, env string) (string, error) {
	var password string
	var err error
	switch {
	case env != "" && file != "-":
		return "", usage(errors.New("--password-file and --password-env contradict each other: give one of them"))
	case env != "":
		password = os.Getenv(env)
	default:
		password, err = p.passwordFrom(file)
	}
	if err == nil && password == "" {
		err = usage(errors.New("the password is empty; give it on the standard input, by --password-file or by --password-env"))
	}
	return password, err
}

func (p *program) passwordFrom(file string) (string, error) {
	from, done, err := p.open(file)
	if err != nil {
		return "", err
	}
	defer done()
	return p.readLine(from)
}

func (p *program) readLine(from io.Reader) (string, error) {
	if f, ok := from.(*os.File); ok && isTerminal(f) {
		p.say("password (it is not shown):")
		typed, err := term.ReadPassword(int(f.Fd()))
		return string(typed), err
	}
	data, err := io.ReadAll(io.LimitReader(from, maxSecretFile))
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r"), nil
}

func readUserData(file string) (json.RawMessage, error) {
	data, err := os.ReadFile(file) //nolint:gosec // the user names the file
	if err != nil {
		return nil, usage(err)
	}
	if !json.Valid(data) {
		return nil, usage(fmt.Errorf("%s is no JSON", file))
	}
	return data, nil
}

func (p *program) readToken(file string) (json.RawMessage, error) {
	from, done, err := p.open(file)
	if err != nil {
		return nil, err
	}
	defer done()
	if f, ok := from.(*os.File); ok && isTerminal(f) {
		p.say("reading the token as JSON from the standard input, end with Ctrl-D")
	}
	data, err := io.ReadAll(io.LimitReader(from, maxSecretFile))
	if err != nil {
		return nil, err
	}
	var token map[string]json.RawMessage
	if err := json.Unmarshal(data, &token); err != nil {
		return nil, usage(errors.New("the token is no JSON object; give {\"access_token\": …, \"refresh_token\": …, \"expires_in\": …}"))
	}
	return p.knownFields(token)
}

// knownFields takes what the service understands out of a token, which may be
// a provider's whole reply, and tells what was left out.
func (p *program) knownFields(token map[string]json.RawMessage) (json.RawMessage, error) {
	refreshLife(token)
	var left []string
	for name := range token {
		switch name {
		case "access_token", "refresh_token", "token_type", "scope", "expires_in", "expires_at", "refresh_expires_in":
		default:
			left = append(left, name)
			delete(token, name)
		}
	}
	if len(left) > 0 {
		slices.Sort(left)
		p.say("left out of the token: %s", strings.Join(left, ", "))
	}
	return json.Marshal(token)
}

// refreshLife gives the life of the refresh token the name that the service has
// for it, of those that providers have. 0 means that it does not end by itself.
func refreshLife(token map[string]json.RawMessage) {
	for _, name := range []string{"refresh_token_expires_in", "x_refresh_token_expires_in"} {
		if life, ok := token[name]; ok && token["refresh_expires_in"] == nil {
			token["refresh_expires_in"] = life
			delete(token, name)
		}
	}
	if life, err := strconv.ParseInt(string(token["refresh_expires_in"]), 10, 64); err == nil && life == 0 {
		delete(token, "refresh_expires_in")
	}
}

func parseLabels(list []string) (map[string]string, error) {
	labels := make(map[string]string, len(list))
	for _, one := range list {
		name, value, ok := strings.Cut(one, "=")
		if !ok || name == "" {
			return nil, usage(fmt.Errorf("--label %q: give name=value", one))
		}
		labels[name] = value
	}
	return labels, nil
}

// sayMissing tells what of the login that was stored is not as it should be.
func (p *program) sayMissing(missing []string) {
	var expiries []string
	for _, one := range missing {
		if strings.HasPrefix(one, "user_data ") {
			p.say("the login is stored, but not what is told of the user: %s. Name a part of it as user_data under response", one)
			continue
		}
		expiries = append(expiries, one)
	}
	if expiries != nil {
		p.say("no expiry is told where it should stand, so what else tells it decides (the exp of a JWT, default_lifetime, or an hour, for an access token): %s", strings.Join(expiries, ", "))
	}
}
