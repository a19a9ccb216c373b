package client_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/refreshd/refreshd/client"
)

// exampleServers starts a refreshd that keeps Alice's token, and an API that
// takes it.
func exampleServers() (h *sendingHouse, end func()) {
	h = newSendingHouse()
	h.api = httptest.NewServer(h.apiRoutes(log.Printf))
	h.resource = httptest.NewServer(http.HandlerFunc(h.serveResource))
	return h, func() {
		h.resource.Close()
		h.api.Close()
	}
}

// An http.Client whose requests carry Alice's token, however long the program
// runs.
func ExampleClient_Transport() {
	servers, end := exampleServers() // a refreshd and an API, in place of real ones
	defer end()
	refreshd, api := servers.api.URL, servers.resource.URL

	c, err := client.New(refreshd, client.Options{Key: "rk_example"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	alice := &http.Client{Transport: c.Transport("acme:alice", nil)}
	res, err := alice.Post(api+"/greet", "text/plain", strings.NewReader("from Alice"))
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(res.StatusCode, string(body))
	// Output: 200 hello from Alice
}

// A GraphQL server that refuses a token with status 200. The token has died
// before its time here: the request is sent again with the next one.
func ExampleRejectGraphQL() {
	servers, end := exampleServers()
	defer end()
	servers.graphql = true
	servers.expire()
	refreshd, api := servers.api.URL, servers.resource.URL

	c, err := client.New(refreshd, client.Options{Key: "rk_example"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	alice := &http.Client{
		Transport: c.Transport("acme:alice", nil, client.WithRejection(client.RejectGraphQL)),
	}
	res, err := alice.Post(api+"/graphql", "application/json", strings.NewReader(`{"query":"{me{name}}"}`))
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(res.StatusCode, string(body))
	// Output: 200 hello {"query":"{me{name}}"}
}

// A backend that redirects to its login page when a session has died. The
// session of the example has, and refreshd has the next one.
func ExampleWithRejection() {
	servers, end := exampleServers()
	defer end()
	servers.loginPage = true
	servers.expire()
	refreshd, airline := servers.api.URL, servers.resource.URL

	c, err := client.New(refreshd, client.Options{Key: "rk_example"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	toLogin := func(res *http.Response) bool {
		return res.StatusCode == http.StatusFound && strings.HasPrefix(res.Header.Get("Location"), "/login")
	}
	alice := &http.Client{Transport: c.Transport("airline:alice", nil, client.WithRejection(toLogin))}
	res, err := alice.Get(airline + "/me")
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	fmt.Println(res.Status, res.Request.URL.Path)
	// Output: 200 OK /me
}

// A program that has its user sign in when there is no other way, and goes on
// where it stood.
func ExampleWithReauth() {
	servers, end := exampleServers()
	defer end()
	servers.refuse("reauth_required")
	refreshd, api := servers.api.URL, servers.resource.URL

	c, err := client.New(refreshd, client.Options{Key: "rk_example"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	signIn := func(ctx context.Context, reason string) error {
		fmt.Println("Please sign in again:", reason)
		// … a page or a dialog, until the user is done …
		_, err := c.Put(ctx, "acme:alice", client.PutInput{
			Provider: "acme",
			Token:    &client.PutToken{AccessToken: "…", RefreshToken: "…"},
		})
		return err
	}
	alice := &http.Client{Transport: c.Transport("acme:alice", nil, client.WithReauth(signIn))}
	res, err := alice.Get(api)
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	fmt.Println(res.Status)
	// Output:
	// Please sign in again: reauth_required
	// 200 OK
}

// A program that follows links out of replies: the token goes to the API alone.
func ExampleWithHosts() {
	servers, end := exampleServers()
	defer end()
	refreshd := servers.api.URL

	c, err := client.New(refreshd, client.Options{Key: "rk_example"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	// In place of the network: show which requests carry a token.
	show := roundTripFunc(func(r *http.Request) (*http.Response, error) {
		fmt.Println(r.URL.Host, r.Header.Get("Authorization") != "")
		return &http.Response{StatusCode: http.StatusNoContent, Body: http.NoBody}, nil
	})
	alice := &http.Client{Transport: c.Transport("acme:alice", show, client.WithHosts("api.acme.example"))}
	for _, link := range []string{"https://api.acme.example/things?page=2", "https://cdn.example/thing.png"} {
		res, err := alice.Get(link)
		if err != nil {
			log.Fatal(err)
		}
		res.Body.Close()
	}
	// Output:
	// api.acme.example true
	// cdn.example false
}
