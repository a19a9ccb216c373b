// Command graphql queries a GraphQL backend with a user's session that refreshd
// keeps alive. Such a backend says 200 whatever happens; that a session is over
// stands in the body, as an error with the code UNAUTHENTICATED.
//
//	export REFRESHD_KEY=$(refreshd key create graph-app --scope token:read --scope credential:write --prefix graph:)
//	go run ./examples/graphql --credential graph:alice --api https://shop.example/graphql
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"

	"github.com/refreshd/refreshd/client"
)

func main() {
	url := flag.String("refreshd", "http://127.0.0.1:7420", "`URL` of refreshd")
	id := flag.String("credential", "graph:alice", "`ID` of the credential, PROVIDER:USER here")
	api := flag.String("api", "", "`URL` of the GraphQL endpoint")
	flag.Parse()
	if err := run(context.Background(), *url, *id, *api); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, url, id, api string) error {
	c, err := client.New(url, client.Options{Key: os.Getenv("REFRESHD_KEY")})
	if err != nil {
		return err
	}
	defer c.Close()

	// RejectGraphQL reads no more of a body than it must to find the errors, and
	// hands the whole of it on. The query of a strings.Reader can be sent again.
	user := &http.Client{Transport: c.Transport(id, nil,
		client.WithRejection(client.RejectGraphQL),
		client.WithReauth(func(ctx context.Context, reason string) error { return signIn(ctx, c, id, reason) }),
	)}
	var me struct {
		Me struct {
			ID      string `json:"id"`
			Profile struct {
				Name string `json:"name"`
			} `json:"profile"`
		} `json:"me"`
	}
	if err := query(ctx, user, api, "query Me { me { id profile } }", &me); err != nil {
		return err
	}
	fmt.Printf("%s, user %s\n", me.Me.Profile.Name, me.Me.ID)
	return nil
}

// query sends one query and reads its data.
func query(ctx context.Context, user *http.Client, api, text string, data any) error {
	body, err := json.Marshal(map[string]string{"query": text})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, api, strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := user.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var reply struct {
		Data   json.RawMessage `json:"data"`
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	if err := json.NewDecoder(res.Body).Decode(&reply); err != nil {
		return err
	}
	if len(reply.Errors) > 0 {
		return errors.New(reply.Errors[0].Message)
	}
	return json.Unmarshal(reply.Data, data)
}

// signIn asks for the password and has refreshd sign in with it.
func signIn(ctx context.Context, c *client.Client, id, reason string) error {
	provider, name, _ := strings.Cut(id, ":")
	fmt.Printf("%s needs its user (%s); password of %s: ", id, reason, name)
	line, err := bufio.NewReader(os.Stdin).ReadString('\n') // a program for a terminal would not show it
	if err != nil {
		return err
	}
	fmt.Println()
	login := &client.Login{Username: name, Password: strings.TrimSpace(line)}
	_, err = c.Put(ctx, id, client.PutInput{Provider: provider, Login: login})
	return err // client.ErrLoginRefused where the password is wrong
}
