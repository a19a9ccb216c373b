package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"golang.org/x/oauth2"

	"github.com/refreshd/refreshd/client"
)

// exampleRefreshd starts a refreshd that keeps Alice's token, and Bob's, who
// has to sign in again.
func exampleRefreshd() *httptest.Server {
	answers := map[string]string{
		"GET /v1/credentials/acme:alice/token":       `{"access_token":"at-1","token_type":"Bearer","expires_at":"2099-01-01T00:00:00Z","expires_in":3600,"version":3,"generation":1,"send":{"as":"bearer"}}`,
		"POST /v1/credentials/acme:alice/refresh":    `{"access_token":"at-2","token_type":"Bearer","expires_at":"2099-01-01T00:00:00Z","expires_in":3600,"version":4,"generation":2,"send":{"as":"bearer"}}`,
		"GET /v1/credentials/acme:alice/user-data":   `{"subject":"u-17","state":"active","user_data":{"name":"Alice","plan":"gold"}}`,
		"GET /v1/credentials/acme:alice":             `{"id":"acme:alice","provider":"acme","state":"degraded","reason":"provider_unavailable","version":3,"generation":1}`,
		"PUT /v1/credentials/acme:alice":             `{"id":"acme:alice","provider":"acme","state":"active","version":1,"generation":1}`,
		"POST /v1/credentials/acme:alice/logout":     `{"id":"acme:alice","provider":"acme","state":"logged_out","version":5,"generation":1}`,
		"PUT /v1/credentials/airline:alice/presence": `{"id":"airline:alice","provider":"airline","state":"active","version":2,"generation":1,"presence":"active"}`,
		"POST /v1/credentials/airline:alice/touch":   `{"idle_deadline":"2026-11-20T12:15:00Z","expires_in":900}`,
		"DELETE /v1/credentials/acme:alice":          ``,
		"GET /v1/credentials/acme:bob/token":         `{"code":"reauth_required","detail":"…","state":"reauth_required","reason":"invalid_grant","since":"2026-11-20T08:00:00Z"}`,
	}
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := answers[r.Method+" "+r.URL.Path]
		switch {
		case answer == "":
			w.WriteHeader(http.StatusNoContent)
			return
		case r.URL.Path == "/v1/credentials/acme:bob/token":
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusConflict)
		default:
			w.Header().Set("Content-Type", "application/json")
		}
		_, _ = io.WriteString(w, answer)
	}))
}

// exampleClient returns a client of exampleRefreshd, as the other examples use
// it.
func exampleClient() (c *client.Client, end func()) {
	server := exampleRefreshd()
	c, err := client.New(server.URL, client.Options{Key: "rdk_example"})
	if err != nil {
		log.Fatal(err)
	}
	return c, func() { _ = c.Close(); server.Close() }
}

// A program makes one client at its start, and closes it at its end.
func ExampleNew() {
	refreshd := exampleRefreshd() // in place of http://127.0.0.1:7420
	defer refreshd.Close()

	c, err := client.New(refreshd.URL, client.Options{
		Key:    "rdk_example",
		MinTTL: 2 * time.Minute, // this program's requests may take that long
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	token, err := c.Token(context.Background(), "acme:alice")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(token.TokenType, token.Generation)
	// Output: Bearer 1
}

// What to do when there is no token.
func ExampleClient_Token() {
	c, end := exampleClient()
	defer end()

	_, err := c.Token(context.Background(), "acme:bob")
	if reauth, ok := errors.AsType[*client.ReauthError](err); ok {
		fmt.Println("show the login:", reauth.Reason, "since", reauth.Since.Format(time.DateOnly))
	} else if away, ok := errors.AsType[*client.UnavailableError](err); ok {
		fmt.Println("come back in", away.RetryAfter)
	} else if errors.Is(err, client.ErrNotFound) {
		fmt.Println("nobody has signed in yet")
	}
	// Output: show the login: invalid_grant since 2026-11-20
}

// A source for a library that takes an oauth2.TokenSource.
func ExampleClient_TokenSource() {
	c, end := exampleClient()
	defer end()

	source := c.TokenSource(context.Background(), "acme:alice")
	token, err := source.Token()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(token.Type(), token.Valid(), token.Extra("generation"))
	// Output: Bearer true 1
}

// A program that sends its requests itself, and has a token replaced that the
// resource refused before its time. [Client.Transport] does all of this.
func ExampleClient_Refresh() {
	c, end := exampleClient()
	defer end()
	ctx := context.Background()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer at-2" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer api.Close()

	send := func(token *client.Token) int {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, api.URL, nil)
		if err != nil {
			log.Fatal(err)
		}
		token.Apply(req)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			log.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode
	}
	token, err := c.Token(ctx, "acme:alice")
	if err != nil {
		log.Fatal(err)
	}
	status := send(token)
	fmt.Println("generation", token.Generation, "gets", status)
	if status == http.StatusUnauthorized {
		if token, err = c.Refresh(ctx, "acme:alice", token.Generation); err != nil {
			log.Fatal(err)
		}
		fmt.Println("generation", token.Generation, "gets", send(token))
	}
	// Output:
	// generation 1 gets 401
	// generation 2 gets 200
}

// The end of an authorization code flow: refreshd has the token from here on.
func ExampleClient_Put() {
	c, end := exampleClient()
	defer end()

	// token, err := config.Exchange(ctx, code)
	token := &oauth2.Token{AccessToken: "at-1", RefreshToken: "rt-1", Expiry: time.Now().Add(time.Hour)}

	record, err := c.Put(context.Background(), "acme:alice", client.PutInput{
		Provider: "acme",
		Subject:  "u-17",
		Labels:   map[string]string{"team": "blue"},
		Token:    client.FromOAuth2(token),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(record.State, record.Version)
	// Output: active 1
}

func ExampleClient_Get() {
	c, end := exampleClient()
	defer end()

	record, err := c.Get(context.Background(), "acme:alice")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(record.State, record.Reason)
	// Output: degraded provider_unavailable
}

// A program that picks its first page by what is known of the user.
func ExampleUserData() {
	c, end := exampleClient()
	defer end()

	type profile struct {
		Name string `json:"name"`
		Plan string `json:"plan"`
	}
	user, err := client.UserData[profile](context.Background(), c, "acme:alice")
	switch {
	case errors.Is(err, client.ErrNotFound):
		fmt.Println("welcome page")
	case err != nil:
		log.Fatal(err)
	case user.State == client.StateActive && user.Known:
		fmt.Printf("home page of %s (%s), plan %s\n", user.Data.Name, user.Subject, user.Data.Plan)
	default:
		fmt.Println("login page")
	}
	// Output: home page of Alice (u-17), plan gold
}

func ExampleClient_Logout() {
	c, end := exampleClient()
	defer end()

	record, err := c.Logout(context.Background(), "acme:alice")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(record.State)
	// Output: logged_out
}

// Delete the record as well, and end the token at the provider.
func ExampleClient_Delete() {
	c, end := exampleClient()
	defer end()

	if err := c.Delete(context.Background(), "acme:alice", client.DeleteOptions{Revoke: true}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("gone")
	// Output: gone
}

// A page that shows a session tells refreshd when somebody looks at it.
func ExampleClient_SetPresence() {
	c, end := exampleClient()
	defer end()

	record, err := c.SetPresence(context.Background(), "airline:alice", client.PresenceActive)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(record.Presence)
	// Output: active
}

// A program that used a session by other means than [Client.Transport].
func ExampleClient_Touch() {
	c, end := exampleClient()
	defer end()

	deadline, err := c.Touch(context.Background(), "airline:alice")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("lives until", deadline.Format(time.TimeOnly), "unless it is used again")
	// Output: lives until 12:15:00 unless it is used again
}
