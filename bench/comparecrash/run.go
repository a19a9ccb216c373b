package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/refreshd/refreshd/bench/internal/rig"
	"github.com/refreshd/refreshd/internal/practice"
)

const (
	clientID     = "demo"
	clientSecret = "demo-secret"
	// accessTTL is long enough that every credential is refreshed once in a run.
	accessTTL = time.Hour
	// grace is that of the provider which grants one.
	grace = 30 * time.Second
	// spreadOver is how many different delays the provider has.
	spreadOver = 32
	// processes is how many of a subject share the work.
	processes = 2
	// quiet is longer than the plain worker's scans are apart.
	quiet = 3 * time.Second
	// restWithin bounds the wait for that. asynq notices the death of a worker
	// within two minutes.
	restWithin = 3 * time.Minute
)

// site is where the processes of one run live.
type site struct {
	folder      string
	socket      string // of Redis
	providerURL string
	credentials int
	starts      int // processes that were started so far
}

// subject is what is compared: processes that keep credentials fresh.
type subject interface {
	// start starts all processes and returns when they work.
	start(ctx context.Context) error
	// fly stores the grants and returns when all of them are due.
	fly(ctx context.Context, grants []practice.Minted) error
	// kill sends SIGKILL to all processes and returns when they have ended.
	kill() error
	// held returns what is stored of each credential.
	held(ctx context.Context) ([]holding, error)
	// close ends what is left and lets go of all connections.
	close() error
}

// lender is a subject of which an access token has to be asked for.
type lender interface {
	tokens(ctx context.Context, all []holding) error
}

// holding is what a subject has stored of one credential.
type holding struct {
	subject string
	fresh   bool   // a token that has just been refreshed
	reauth  bool   // given up: the user has to log in again
	access  string // the access token
}

func (h holding) settled() bool { return h.fresh || h.reauth }

// programs are the built ones.
type programs struct{ refreshd, plainWorker string }

// build builds the programs into the folder, without failpoints and without
// the race detector.
func build(ctx context.Context, folder string) (programs, error) {
	const module = "github.com/refreshd/refreshd/"
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", folder+string(filepath.Separator), //nolint:gosec // a temporary folder of ours
		module+"cmd/refreshd", module+"bench/baseline/plainworker")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return programs{}, fmt.Errorf("build the programs (run this inside the module): %w\n%s", err, out)
	}
	return programs{refreshd: filepath.Join(folder, "refreshd"), plainWorker: filepath.Join(folder, "plainworker")}, nil
}

// plan is one run.
type plan struct {
	scenario    string
	contender   contender
	reuse       practice.Reuse
	credentials int
	latency     time.Duration
	quiet       time.Duration // how long nothing must have been in the air before the run is over
	seed        uint64
}

// provider is a practice provider of one run, in this process: its ledger is
// read without a call.
type provider struct {
	*practice.Server

	url  string
	stop context.CancelFunc
	done chan error
}

func startProvider(ctx context.Context, p plan) (*provider, error) {
	server := practice.New(practice.Options{
		AccessTTL: accessTTL, Reuse: p.reuse, Grace: grace, ClientAuth: practice.ClientAuthBasic,
		Clients: []practice.Client{{ID: clientID, Secret: clientSecret}},
	})
	for _, f := range p.delays() {
		if _, err := server.AddFault(f); err != nil {
			return nil, err
		}
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	on := &provider{Server: server, url: "http://" + listener.Addr().String(), done: make(chan error, 1)}
	ctx, on.stop = context.WithCancel(ctx)
	go func() { on.done <- server.Serve(ctx, listener) }()
	return on, nil
}

// delays delays all answers: for half of the requests after the rotation, for
// the other half before it. Answers that come amid a kill are spread from half
// of the latency to one and a half, so that they do not all come at once. A
// request takes the first that fits: the n-th from the end has one chance in n.
func (p plan) delays() []practice.Fault {
	parts := spreadOver
	if p.scenario == scenarioSlow {
		parts = 1
	}
	var all []practice.Fault
	for n := range parts {
		delay := p.latency
		if parts > 1 {
			delay = p.latency/2 + p.latency*time.Duration(n)/time.Duration(parts-1)
		}
		for _, moment := range []practice.Moment{practice.MomentBefore, practice.MomentAfter} {
			left := 2*parts - len(all)
			all = append(all, practice.Fault{
				Kind: practice.KindSlow, Delay: delay, Rotate: moment,
				Probability: 1 / float64(left), Seed: p.seed + uint64(left), //nolint:gosec // small and positive
			})
		}
	}
	return all
}

func (p *provider) close() error {
	p.stop()
	return <-p.done
}

// carryOut makes one run in a folder of its own and returns what is left.
func (p plan) carryOut(ctx context.Context, bin programs, folder string) (c counts, err error) {
	if err := os.Mkdir(folder, 0o700); err != nil {
		return c, err
	}
	on, err := startProvider(ctx, p)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, on.close()) }()
	server, socket, err := startRedis(ctx, folder)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, rig.Kill(server)) }()
	who, err := p.contender.make(site{folder: folder, socket: socket, providerURL: on.url, credentials: p.credentials}, bin, p.reuse)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, who.close()) }()
	if err := who.start(ctx); err != nil {
		return c, err
	}
	grants, err := on.Mint(practice.MintRequest{Count: p.credentials})
	if err != nil {
		return c, err
	}
	if err := who.fly(ctx, grants); err != nil {
		return c, err
	}
	k, err := p.strike(ctx, on, who)
	if err != nil {
		return c, err
	}
	return p.aftermath(ctx, on, who, k)
}

// strike kills all processes when the drawn number of answers has been given,
// and starts them again. In the scenario without a kill it waits until
// something has been sent.
func (p plan) strike(ctx context.Context, on *provider, who subject) (moment, error) {
	k := moment{}
	if p.scenario == scenarioSlow {
		err := await(ctx, time.Minute, time.Millisecond, func() (bool, error) { return on.Summary().Presentations > 0, nil })
		k.before = time.Now()
		return k, err
	}
	answers := p.answersBeforeKill()
	err := await(ctx, time.Minute, time.Millisecond, func() (bool, error) {
		sum := on.Summary()
		return sum.Presentations-sum.InAir >= answers, nil
	})
	if err != nil {
		return k, fmt.Errorf("%d answers: %w", answers, err)
	}
	k.killed, k.before = true, time.Now()
	if err := who.kill(); err != nil {
		return k, err
	}
	k.after = time.Now()
	return k, who.start(ctx)
}

// answersBeforeKill is drawn from the seed: a fifth to four fifths of all.
func (p plan) answersBeforeKill() int64 {
	draw := rand.New(rand.NewPCG(p.seed, 1)) //nolint:gosec // a repeatable sequence is the point
	n := int64(p.credentials)
	return max(1, n/5+draw.Int64N(max(1, n*3/5)))
}

// aftermath waits until everything is at rest, and counts.
func (p plan) aftermath(ctx context.Context, on *provider, who subject, k moment) (counts, error) {
	var since, rest time.Time
	var last []holding
	err := await(ctx, restWithin, 50*time.Millisecond, func() (bool, error) {
		all, err := who.held(ctx)
		if err != nil {
			return false, err
		}
		last = all
		waiting := len(all) < p.credentials || on.Summary().InAir > 0
		for _, h := range all {
			waiting = waiting || !h.settled()
		}
		switch {
		case waiting:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		}
		rest = since
		return !waiting && time.Since(since) >= p.quiet, nil
	})
	if err != nil && !errors.Is(err, errNotInTime) {
		return counts{}, err
	}
	if asked, ok := who.(lender); ok {
		if err := asked.tokens(ctx, last); err != nil {
			return counts{}, err
		}
	}
	accepted, err := show(ctx, on.url, last)
	if err != nil {
		return counts{}, err
	}
	c := count(evidence{
		credentials: p.credentials, entries: on.Ledger(practice.LedgerQuery{}), grants: on.Grants(), summary: on.Summary(),
		held: last, accepted: accepted, kill: k,
	})
	if !rest.IsZero() {
		c.Rest = rest.Sub(k.before).Seconds()
	}
	return c, nil
}

// show shows every access token to the provider's resource and returns the
// subjects whose token it takes.
func show(ctx context.Context, providerURL string, all []holding) (map[string]bool, error) {
	client := newClient()
	defer client.CloseIdleConnections()
	codes := make([]int, len(all))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(callers)
	for i, h := range all {
		group.Go(func() error {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, providerURL+"/resource", http.NoBody)
			if err != nil {
				return err
			}
			req.Header.Set("Authorization", "Bearer "+h.access)
			resp, err := client.Do(req)
			if err != nil {
				return err
			}
			codes[i] = resp.StatusCode
			return resp.Body.Close()
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	accepted := make(map[string]bool, len(all))
	for i, h := range all {
		accepted[h.subject] = codes[i] == http.StatusOK
	}
	return accepted, nil
}

// errNotInTime says that what was waited for did not come.
var errNotInTime = errors.New("not in time")

// await asks until the answer is yes, for at most a time.
func await(ctx context.Context, within, every time.Duration, asked func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("%w: %s", errNotInTime, within))
	defer cancel()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if ok, err := asked(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
