// Command webhook receives the events of a refreshd and says what each of them
// means for its user.
//
// refreshd is told of it in config.yaml, with a secret that both know:
//
//	subscriptions:
//	  - {name: app, url: "http://127.0.0.1:8090/hooks/auth", types: ["credential.*"], secret: {env: HOOK_SECRET}}
//	network: {allow: [127.0.0.0/8]} # webhooks go to this machine only where that is said
//
//	export HOOK_SECRET=whsec_$(openssl rand -base64 32)
//	go run ./examples/webhook --listen 127.0.0.1:8090
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/refreshd/refreshd/client"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8090", "`address` to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := serve(ctx, *listen, os.Getenv("HOOK_SECRET"))
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context, address, secret string) error {
	// The handler checks each delivery's signature and age. It calls handle in
	// the order of each credential's versions, and once for what came twice.
	handler, err := client.NewWebhookHandler([]string{secret}, handle, client.WebhookOptions{
		Refused: func(_ *http.Request, err error) { log.Printf("refused a delivery: %v", err) },
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("POST /hooks/auth", handler)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}

	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	log.Printf("listening on http://%s/hooks/auth", listener.Addr())
	ended := make(chan error, 1)
	go func() {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		ended <- server.Shutdown(grace) // deliveries that are being handled are answered
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-ended
}

// handle is called with every event. An error has it delivered again, before
// any later event of the same credential.
func handle(_ context.Context, event client.Event) error {
	switch event.Type {
	case client.EventReauthRequired:
		// Here a program sends a mail, or shows a login with the next visit.
		fmt.Printf("%s: user %s has to sign in again (%s)\n", event.Credential, event.User, event.Reason)
	case client.EventReauthorized, client.EventRecovered:
		fmt.Printf("%s: user %s is back\n", event.Credential, event.User)
	case client.EventLoggedOut, client.EventDeleted:
		fmt.Printf("%s: user %s has left\n", event.Credential, event.User)
	default: // most are of no concern here, and a newer refreshd has more of them
		fmt.Printf("%s: %s, now %s\n", event.Credential, event.Type, event.State)
	}
	return nil
}
