// Command rest calls a REST API with a user's credential that refreshd keeps
// fresh, and picks its first page by what is known of that user.
//
//	export REFRESHD_KEY=$(refreshd key create shop-app --scope token:read --scope credential:write --prefix shop:)
//	go run ./examples/rest --credential shop:alice --api https://shop.example/me
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"

	"github.com/refreshd/refreshd/client"
)

func main() {
	url := flag.String("refreshd", "http://127.0.0.1:7420", "`URL` of refreshd")
	id := flag.String("credential", "shop:alice", "`ID` of the credential, PROVIDER:USER here")
	api := flag.String("api", "", "`URL` of a call to the REST API")
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

	err = firstPage(ctx, c, id)
	if errors.Is(err, client.ErrNotFound) {
		err = signIn(ctx, c, id, "nobody has signed in")
	}
	if err != nil {
		return err
	}

	// Each request of this client carries the user's token. When the API says
	// 401, refreshd is asked for a newer one, once, and the request is sent again.
	// When refreshd has none, signIn is called, and then it is sent again.
	user := &http.Client{Transport: c.Transport(id, shown{}, client.WithReauth(func(ctx context.Context, reason string) error {
		return signIn(ctx, c, id, reason)
	}))}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, api, http.NoBody)
	if err != nil {
		return err
	}
	res, err := user.Do(req)
	if away, ok := errors.AsType[*client.UnavailableError](err); ok {
		return fmt.Errorf("nothing is lost, come back in %s: %w", away.RetryAfter, err)
	} else if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	fmt.Println(string(body))
	return nil
}

// firstPage is what a program shows before it has called anything but refreshd.
func firstPage(ctx context.Context, c *client.Client, id string) error {
	type profile struct { // what this backend tells of its users
		Name string `json:"name"`
	}
	user, err := client.UserData[profile](ctx, c, id)
	switch {
	case errors.Is(err, client.ErrNotFound):
		fmt.Println("welcome page: nobody has signed in yet")
		return err
	case err != nil:
		return err
	case user.State == client.StateReauthRequired || user.State == client.StateLoggedOut:
		fmt.Printf("login page: %s\n", user.State)
	default:
		fmt.Printf("home page of %s, user %s\n", user.Data.Name, user.Subject)
	}
	return nil
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

// shown sends requests, and prints how they were answered.
type shown struct{}

func (shown) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := http.DefaultTransport.RoundTrip(req)
	if err == nil {
		fmt.Printf("%s %s: %s\n", req.Method, req.URL.Path, res.Status)
	}
	return res, err
}
