package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/refreshd/refreshd/internal/app"
	"github.com/refreshd/refreshd/internal/config"
)

const doctorHelp = `Look at what the service needs on this machine, and ask it how it is.

Without a running service: the configuration, the data folder with its disk,
the keyset, Redis and what it promises about acknowledged writes, the clock,
the limits of a process. Nothing is changed. Run it as the user that runs the
service, for it looks with the permissions of whoever calls it.

If the service answers (at listen, or at REFRESHD_URL): whether it is ready,
what it finds about its Redis, refreshes whose reply is unknown, who works on
the same Redis, breakers and queues. All but the first needs the admin key in
data_dir, or REFRESHD_KEY.

Each line has ok, warn or fail, what was looked at, and: what is the case — what
follows from it — what to do.

    refreshd doctor --config /etc/refreshd/config.yaml
    refreshd doctor --output json | jq '.findings[] | select(.severity != "ok")'

Exit codes: 0 nothing fails (there may be warnings), 1 something does.`

func (p *program) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Say what is wrong on this machine and with the service", Long: doctorHelp, Args: args(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list := app.Doctor(cmd.Context(), app.DoctorOptions{Config: p.config, Env: os.Environ()})
			list = append(list, p.askService(cmd.Context(), list)...)
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
				return fmt.Errorf("%d of %d findings fail", failed, len(list))
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

// serviceSays is the part of the service's answers that is judged here.
type serviceSays struct {
	ready struct {
		Ready  bool `json:"ready"`
		Checks []struct {
			Name   string `json:"name"`
			OK     bool   `json:"ok"`
			Detail string `json:"detail"`
		} `json:"checks"`
		Findings []app.Finding `json:"findings"`
	}
	status struct {
		Version  string `json:"version"`
		Recovery *struct {
			Gate      string `json:"gate"`
			Settled   bool   `json:"settled"`
			InDoubt   int    `json:"in_doubt"`
			Processes []struct {
				Owner  string `json:"owner"`
				Listed bool   `json:"listed"`
				Ready  bool   `json:"ready"`
				Open   int    `json:"open_attempts"`
			} `json:"processes"`
		} `json:"recovery"`
		Providers []struct {
			Name    string `json:"name"`
			Breaker struct {
				Open   bool   `json:"open"`
				Reason string `json:"reason"`
			} `json:"breaker"`
		} `json:"providers"`
		Queues []struct {
			Name     string `json:"name"`
			Paused   bool   `json:"paused"`
			Archived int    `json:"archived"`
		} `json:"queues"`
	}
}

// askService asks the running service, if there is one. known is what was found
// without it, and is not told twice.
func (p *program) askService(ctx context.Context, known []app.Finding) []app.Finding {
	const topic = "service"
	base := strings.TrimRight(os.Getenv("REFRESHD_URL"), "/")
	if base == "" {
		conf, err := config.Locate(p.config, os.Environ())
		if err != nil {
			return nil // what is wrong with the configuration was told
		}
		base = localURL(conf)
	}
	r := &remote{base: base, client: &http.Client{Timeout: healthTimeout, Transport: &http.Transport{Proxy: nil}}}
	var said serviceSays
	if err := r.readiness(ctx, &said.ready); err != nil {
		return []app.Finding{{
			Topic: topic, Severity: app.SeverityWarn, What: err.Error(), Consequence: "it was not asked how it is", Remedy: "start it, or set REFRESHD_URL",
		}}
	}
	list := said.judgeReadiness(known)
	if with, err := p.connect(); err == nil {
		r.key = with.key
		if err = r.call(ctx, http.MethodGet, "/v1/status", nil, &said.status); err == nil {
			return append(list, said.judgeStatus()...)
		}
		return append(list, app.Finding{Topic: topic, Severity: app.SeverityWarn, What: "its status cannot be had: " + err.Error(), Consequence: "it was asked only whether it is ready"})
	}
	return append(list, app.Finding{
		Topic: topic, Severity: app.SeverityOK, What: "without a key nothing more can be asked", Remedy: "set REFRESHD_KEY, or run this as the user that can read admin.key",
	})
}

// readiness reads the answer of /readyz, which is one with 503 as well.
func (r *remote) readiness(ctx context.Context, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base+"/readyz", http.NoBody)
	if err != nil {
		return fmt.Errorf("the service's address cannot be used: REFRESHD_URL: %w", bare(err))
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return fmt.Errorf("no service answers at %s: %w", req.URL.Scheme+"://"+req.URL.Host, bare(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusServiceUnavailable {
		return fmt.Errorf("what answers at %s is no refreshd: status %d", req.URL.Scheme+"://"+req.URL.Host, resp.StatusCode)
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, 1<<20)).Decode(into); err != nil {
		return fmt.Errorf("what answers at %s is no refreshd: its answer cannot be read", req.URL.Scheme+"://"+req.URL.Host)
	}
	return nil
}

func (s *serviceSays) judgeReadiness(known []app.Finding) []app.Finding {
	const topic = "service"
	list := []app.Finding{{Topic: topic, Severity: app.SeverityOK, What: "it is ready"}}
	if !s.ready.Ready {
		list[0] = app.Finding{Topic: topic, Severity: app.SeverityFail, What: "it is not ready", Consequence: "no valid token can be served, not even from memory"}
	}
	told := map[string]bool{}
	for _, f := range known {
		told[f.What] = true
	}
	for _, f := range s.ready.Findings {
		if !told[f.What] {
			f.Topic = "redis " + f.Topic
			list = append(list, f)
		}
	}
	for _, check := range s.ready.Checks {
		// What a check of Redis's promises has to say is among the findings.
		if !check.OK && (check.Name != "durability" || len(s.ready.Findings) == 0) {
			list = append(list, app.Finding{Topic: topic + " " + check.Name, Severity: app.SeverityFail, What: check.Detail})
		}
	}
	return list
}

func (s *serviceSays) judgeStatus() []app.Finding {
	const topic = "service"
	var list []app.Finding
	warn := func(what, consequence, remedy string) {
		list = append(list, app.Finding{Topic: topic, Severity: app.SeverityWarn, What: what, Consequence: consequence, Remedy: remedy})
	}
	if s.status.Version != version {
		warn(fmt.Sprintf("it is version %s, and this is %s", cmp.Or(s.status.Version, "unknown"), version), "this one may judge what it does not know", "restart it after an upgrade")
	}
	if r := s.status.Recovery; r != nil {
		working, late, left := 0, 0, 0
		for _, one := range r.Processes {
			switch {
			case !one.Listed:
				left++
			case r.Settled || one.Ready:
				working++
			default:
				late++
			}
		}
		list = append(list, app.Finding{Topic: topic, Severity: app.SeverityOK, What: fmt.Sprintf("processes that work on its Redis: %d", working+late)})
		if r.Gate == "closed" {
			warn("Redis is another run, and this process is putting back what it knows", "nothing is stored and nothing refreshed until it has", "")
		}
		if !r.Settled && late > 0 {
			warn(fmt.Sprintf("Redis is another run, and not all processes have put back what they know: %d have not", late), "refreshes wait until they have, or are proven dead", "start them again if they have died: their journals may hold tokens")
		}
		if left > 0 {
			warn(fmt.Sprintf("processes that died and left refreshes open: %d", left), "these wait until it is proven what became of them, at most for recovery.quarantine", "bring their machines back, with their data_dir")
		}
		if r.InDoubt > 0 {
			warn(fmt.Sprintf("refreshes in doubt, which were sent and whose replies are unknown: %d", r.InDoubt), "their access tokens are served until they expire; the old refresh token is presented once more before that", "")
		}
	}
	for _, one := range s.status.Providers {
		if one.Breaker.Open {
			warn(fmt.Sprintf("provider %s refuses the client (%s)", one.Name, one.Breaker.Reason), "nothing of it is refreshed, but for a probe a minute", "put its client_id, client_secret or URLs right, and send SIGHUP")
		}
	}
	for _, one := range s.status.Queues {
		if one.Paused {
			warn(fmt.Sprintf("queue %s is paused", one.Name), "its tasks wait", "resume it at /monitoring")
		}
		if one.Archived > 0 {
			warn(fmt.Sprintf("tasks of queue %s that have failed for good: %d", one.Name, one.Archived), "what is due comes back by itself; deliveries are on the endpoint's record", "look at them at /monitoring")
		}
	}
	return list
}
