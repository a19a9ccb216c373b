package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/refreshd/refreshd/internal/app"
	"github.com/refreshd/refreshd/internal/config"
)

const doctorHelp = `Look at what the service needs on this machine, and ask it how it is.

Without a running service: the configuration, the data folder with its disk,
the keyset, who listens where the service is to, Redis and what it promises
about acknowledged writes, the clock, the limits of a process.
Nothing is changed. Run it as the user that runs the service, for it looks with
the permissions of whoever calls it.

If the service answers (at listen, or at REFRESHD_URL): whether it is ready,
what it finds about its Redis, refreshes whose reply is unknown, who works on
the same Redis and whose heartbeat stands still, breakers and queues. All but
the first needs the admin key in data_dir, or REFRESHD_KEY.

Each line has ok, warn or fail, what was looked at, and: what is the case — what
follows from it — what to do.

    refreshd doctor --config /etc/refreshd/config.yaml
    refreshd doctor --output json | jq '.findings[] | select(.severity != "ok")'

Exit codes: 0 nothing fails (there may be warnings), 1 something does.`

func (p *program) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Say what is wrong on this machine and with the service", Long: doctorHelp, Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ask := asker{p, map[string]*app.Answers{}}
			list := app.Doctor(cmd.Context(), app.DoctorOptions{Config: p.config, Env: os.Environ(), Ask: ask.service, Who: ask.listener})
			if err := p.printFindings(list); err != nil {
				return err
			}
			failed := 0
			for _, f := range list {
				if f.Severity == app.SeverityFail {
					failed++
				}
			}
			if failed > 0 {
				return fmt.Errorf("findings that fail: %d of %d", failed, len(list))
			}
			return nil
		},
	}
}

func (p *program) printFindings(list []app.Finding) error {
	if p.json {
		data, err := json.Marshal(map[string]any{"findings": list})
		if err != nil {
			return err
		}
		return p.printJSON(data)
	}
	w := p.table("\tABOUT\tWHAT — CONSEQUENCE — REMEDY")
	for _, f := range list {
		said := slices.DeleteFunc([]string{f.What, f.Consequence, f.Remedy}, func(s string) bool { return s == "" })
		w.row("%s\t%s\t%s", f.Severity, f.Topic, strings.Join(strings.Fields(strings.Join(said, " — ")), " "))
	}
	return w.Flush()
}

// answerWithin bounds how long an answer is waited for here: a service that is
// well has one in half a second.
const answerWithin = 3 * time.Second

// asker asks the running service, at each address once.
type asker struct {
	*program

	asked map[string]*app.Answers // without a key, by address
}

// ready asks whether the service is ready.
func (a asker) ready(ctx context.Context, r *remote) *app.Answers {
	if said := a.asked[r.base]; said != nil {
		return said
	}
	said := &app.Answers{Version: version}
	said.NoAnswer = r.readiness(ctx, said)
	a.asked[r.base] = said
	return said
}

func askingClient() *http.Client {
	return &http.Client{Timeout: answerWithin, Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
}

// service asks the running service how it is, if it can be told where that is.
func (a asker) service(ctx context.Context) *app.Answers {
	base := strings.TrimRight(os.Getenv("REFRESHD_URL"), "/")
	if base == "" {
		conf, err := config.Locate(a.config, os.Environ())
		if err != nil {
			return nil // what is wrong with the configuration was told
		}
		base = localURL(conf)
	}
	r := &remote{base: base, client: askingClient()}
	said := a.ready(ctx, r)
	if said.NoAnswer != nil {
		return said
	}
	with, err := a.connect()
	if err != nil {
		said.Keyless = true
		return said
	}
	r.key = with.key
	said.NoStatus = r.call(ctx, http.MethodGet, "/v1/status", nil, &said.Status)
	return said
}

// listener tells who answers where the service is configured to listen.
func (a asker) listener(ctx context.Context) (app.Listener, string) {
	conf, err := config.Locate(a.config, os.Environ())
	if err != nil {
		return app.ListenerUnknown, err.Error()
	}
	err = a.ready(ctx, &remote{base: localURL(conf), client: askingClient()}).NoAnswer
	if err == nil {
		return app.ListenerOurs, ""
	}
	return listenerOf(err), err.Error()
}

// listenerOf judges why no refreshd answered. A listener that says nothing, or
// whose certificate is not known here, may be one all the same.
func listenerOf(err error) app.Listener {
	var late net.Error
	_, unknown := errors.AsType[*tls.CertificateVerificationError](err)
	if unknown || errors.Is(err, syscall.ECONNREFUSED) || errors.As(err, &late) && late.Timeout() {
		return app.ListenerUnknown
	}
	return app.ListenerOther
}

// readiness reads the answer of /readyz, which is one with 503 as well.
func (r *remote) readiness(ctx context.Context, into *app.Answers) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base+"/readyz", http.NoBody)
	if err != nil {
		return fmt.Errorf("the service's address cannot be used: REFRESHD_URL: %w", bare(err))
	}
	at := req.URL.Scheme + "://" + req.URL.Host
	resp, err := r.client.Do(req)
	if err != nil {
		return fmt.Errorf("no service answers at %s: %w", at, bare(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusServiceUnavailable {
		return fmt.Errorf("what answers at %s is no refreshd: status %d", at, resp.StatusCode)
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, 1<<20)).Decode(&into.Ready); err != nil || !into.Ready.OfRefreshd() {
		return fmt.Errorf("what answers at %s is no refreshd: its answer is another than one gives", at)
	}
	return nil
}
