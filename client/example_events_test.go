package client_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/refreshd/refreshd/client"
)

// exampleEvents starts a refreshd in which Alice's credential dies, and is
// mended by a login.
func exampleEvents() *httptest.Server {
	const event = "id: cursor-%d\nevent: credential.%s\ndata: " +
		`{"specversion":"1.0","id":"shop:alice/%[1]d/9f86d081","source":"urn:refreshd:4c1d","type":"credential.%[2]s","time":"2026-03-01T12:00:00Z",` +
		`"data":{"credential":"shop:alice","provider":"shop","user":"4711","state":"%[3]s","reason":"%[4]s","initiated_by":"owner","version":%[1]d,"previous_version":0}}` + "\n\n"
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/v1/credentials/shop:alice":
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"id":"shop:alice","provider":"shop","subject":"4711","state":"active","version":6}`)
		case r.Header.Get("Accept") == "application/json":
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"events":[],"cursor":"cursor-6"}`)
		default:
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = fmt.Fprintf(w, event, 7, "reauth_required", "reauth_required", "invalid_grant")
			_, _ = fmt.Fprintf(w, event, 8, "reauthorized", "active", "")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	}))
}

// A program that keeps what it knows of credentials up to date. It stores the
// cursor with what it has handled, so that it misses nothing while it is down.
func ExampleClient_Watch() {
	server := exampleEvents()
	defer server.Close()
	c, err := client.New(server.URL, client.Options{Key: "rdk_example"})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = c.Close() }()

	cursor := client.FromStart // or the one that was stored last
	only := client.Filter{Types: []string{"credential.*"}, Prefix: "shop:"}
	for event, err := range c.Watch(context.Background(), only, cursor) {
		if err != nil { // the key, the filter or the cursor is not taken
			log.Print(err)
			break
		}
		if event.IsReset() {
			fmt.Println("events are missing: read the credentials again")
		}
		fmt.Println(event.Credential, event.Version, event.Type, event.State)
		cursor = event.Cursor // store it
		if event.Type == client.EventReauthorized {
			break
		}
	}
	fmt.Println("next time from", cursor)
	// Output:
	// shop:alice 7 credential.reauth_required reauth_required
	// shop:alice 8 credential.reauthorized active
	// next time from cursor-8
}

// A page that shows whether its user is signed in.
func ExampleClient_State() {
	server := exampleEvents()
	defer server.Close()
	c, err := client.New(server.URL, client.Options{Key: "rdk_example"})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = c.Close() }()

	for now, err := range c.State(context.Background(), "shop:alice") {
		if err != nil {
			log.Print(err)
			break
		}
		if now.SignedIn() {
			fmt.Println("signed in as", now.User)
		} else {
			fmt.Println("please sign in:", now.State, now.Reason)
		}
		if now.Version == 8 {
			break
		}
	}
	// Output:
	// signed in as 4711
	// please sign in: reauth_required invalid_grant
	// signed in as 4711
}

// The cursor is taken before the credential is looked at: what changes between
// the two is among the events.
func ExampleClient_Cursor() {
	server := exampleEvents()
	defer server.Close()
	c, err := client.New(server.URL, client.Options{Key: "rdk_example"})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = c.Close() }()

	ctx := context.Background()
	cursor, err := c.Cursor(ctx)
	if err != nil {
		log.Fatal(err)
	}
	record, err := c.Get(ctx, "shop:alice")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("it is", record.State)
	for event, err := range c.Watch(ctx, client.Filter{Prefix: "shop:alice"}, cursor) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("and became", event.State)
		break
	}
	// Output:
	// it is active
	// and became reauth_required
}

// An endpoint that receives a subscription's events.
func ExampleNewWebhookHandler() {
	secret := os.Getenv("HOOK_SECRET") // of the subscription, whsec_…
	if secret == "" {
		secret = "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 32)))
	}
	handler, err := client.NewWebhookHandler([]string{secret}, func(ctx context.Context, event client.Event) error {
		if event.Type != client.EventReauthRequired {
			return nil
		}
		// An error has it delivered again, later events of that credential after it.
		return askToSignIn(ctx, event.User, event.Reason)
	}, client.WebhookOptions{
		Refused: func(_ *http.Request, err error) { log.Print(err) },
	})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("POST /hooks/auth", handler)
	fmt.Println("listening")
	// Output: listening
}

func askToSignIn(context.Context, string, string) error { return nil }

// An endpoint that wants no more events has its subscription disabled.
func ExampleNewWebhookHandler_gone() {
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 32)))
	_, err := client.NewWebhookHandler([]string{secret}, func(context.Context, client.Event) error {
		return fmt.Errorf("this machine is being retired: %w", client.ErrGone) // answered 410
	}, client.WebhookOptions{})
	fmt.Println(err)
	// Output: <nil>
}

// Events that come by way of a queue or a stream are read as JSON.
func ExampleEvent() {
	message := `{"specversion":"1.0","id":"shop:alice/7/9f86d081","source":"urn:refreshd:4c1d","type":"credential.reauth_required",` +
		`"subject":"shop:alice","time":"2026-03-01T12:00:00Z","data":{"credential":"shop:alice","provider":"shop","user":"4711",` +
		`"state":"reauth_required","previous_state":"degraded","reason":"invalid_grant","initiated_by":"schedule","version":7,"previous_version":6}}`
	var event client.Event
	if err := json.Unmarshal([]byte(message), &event); err != nil {
		log.Fatal(err)
	}
	fmt.Println(event.Credential, event.Version, event.State, event.Reason)
	// Output: shop:alice 7 reauth_required invalid_grant
}

// What refuses a delivery is an error that can be told apart.
func ExampleWebhookOptions() {
	opts := client.WebhookOptions{Refused: func(_ *http.Request, err error) {
		if errors.Is(err, client.ErrBadSignature) {
			log.Print("somebody has posted what refreshd has not signed")
		}
	}}
	fmt.Println(opts.Refused != nil)
	// Output: true
}
