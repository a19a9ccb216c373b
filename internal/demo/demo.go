package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/practice"
)

const (
	readyWithin = 30 * time.Second
	// starts is how often refreshd is started anew because somebody took its
	// port between our look and its own.
	starts = 3
	// writers is how many credentials are stored at a time.
	writers = 8

	faultEvery = 15 * time.Second
	faultLasts = 3 * time.Second
)

// Run shows refreshd at work until ctx ends or the time is over, then stops it
// in order and tells what the provider's ledger says. The error is
// [ErrChildEnded] where refreshd ended by itself.
func Run(ctx context.Context, o Options) (err error) {
	if err := o.Validate(); err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "refreshd-demo-")
	if err != nil {
		return fmt.Errorf("temporary folder: %w", err)
	}
	d := &demo{o: o, dir: folder(temp), board: newBoard(), out: newOutput(o)}
	defer func() {
		if o.Keep {
			d.out.line("kept: " + temp)
			return
		}
		err = errors.Join(err, os.RemoveAll(temp))
	}()
	stopProvider, err := d.startProvider(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopProvider()) }()
	if err := d.startService(ctx); err != nil {
		if errors.Is(err, context.Canceled) {
			return nil // interrupted before there was anything to show
		}
		return err
	}
	defer d.service.close()
	shown, stopped := d.show(ctx), d.child.stop(ctx, stopWithin)
	if errors.Is(stopped, ErrChildEnded) {
		shown = nil // whatever failed, failed for that
	}
	err = errors.Join(shown, stopped)
	d.tellEnd(err == nil)
	return errors.Join(err, d.out.err)
}

// demo is what Run has started. Its parts are set in the order of Run.
type demo struct {
	o     Options
	dir   folder
	board *board
	out   *output

	provider    *practice.Server
	providerURL string
	secret      credential.Secret // the client's

	child   *child
	service *service
	store   string // what keeps the service's data
}

// startProvider serves the practice provider in this process. It outlives ctx:
// what refreshd has sent when it is told to stop is answered.
func (d *demo) startProvider(ctx context.Context) (stop func() error, err error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("practice provider: %w", err)
	}
	d.providerURL = "http://" + l.Addr().String()
	d.secret = credential.NewSecret(rand.Text())
	d.provider = practice.New(practice.Options{
		AccessTTL: d.o.AccessTTL, Reuse: practice.ReuseStrict, ClientAuth: practice.ClientAuthBasic,
		Clients: []practice.Client{{ID: clientID, Secret: d.secret.Reveal()}},
	})
	serveCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	go func() { served <- d.provider.Serve(serveCtx, l) }()
	return func() error { cancel(); return <-served }, nil
}

// startService starts refreshd and returns when it is ready.
func (d *demo) startService(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		address, err := freeAddress(ctx, preferredAddress)
		if err != nil {
			return err
		}
		if err := d.dir.write(configText(address, d.providerURL, perSecond(d.o)), d.secret); err != nil {
			return err
		}
		if d.child, err = startChild(d.dir, d.o); err != nil {
			return err
		}
		d.service = newService(address, writers)
		err = d.awaitService(ctx)
		if err == nil {
			return nil
		}
		d.service.close()
		stopped := d.child.stop(ctx, stopWithin)
		switch taken := strings.Contains(tail(d.dir.log(), lastLines), "address already in use"); {
		case taken && attempt < starts:
		case errors.Is(stopped, ErrChildEnded):
			return stopped // and it says why
		default:
			return errors.Join(err, stopped)
		}
	}
}

func (d *demo) awaitService(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	d.store, err = d.service.awaitReady(ctx, d.dir.adminKey(), d.child.done)
	return err
}

// show stores the credentials and shows what the events tell, until ctx or
// refreshd ends, or the time is over.
func (d *demo) show(ctx context.Context) error {
	d.out.begin(place{
		API: d.service.base, Provider: d.providerURL, AdminKey: d.dir.adminKey(), Log: d.dir.log(), Store: d.store,
	})
	defer d.out.end()

	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := make(chan event, keptEvents)
	group.Go(func() {
		d.service.follow(ctx, func(e event) error {
			select {
			case events <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	listed := make(chan listing, 1)
	group.Go(func() { listed <- d.fill(ctx) })

	tick := time.NewTicker(d.out.every())
	defer tick.Stop()
	faults, stopFaults := every(d.o.Faults, faultEvery)
	defer stopFaults()
	over, stopOver := every(d.o.For > 0, d.o.For)
	defer stopOver()
	for d.out.err == nil {
		select {
		case <-ctx.Done():
			return nil
		case <-over:
			return nil
		case <-d.child.done:
			return nil // stopping it will say so
		case e := <-events:
			d.took(e)
		case all := <-listed:
			if all.err != nil {
				return unlessOver(ctx, all.err)
			}
			for _, r := range all.rows {
				d.board.listed(r)
			}
		case <-faults:
			if err := d.injectFault(); err != nil {
				return err
			}
		case now := <-tick.C:
			d.board.provider = d.provider.Summary()
			d.out.tick(d.board, now)
		}
	}
	return nil // the output's own error is told by Run
}

// unlessOver is nil where ctx has ended: what fails then fails for that reason.
func unlessOver(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

// every ticks where it is wanted.
func every(wanted bool, d time.Duration) (c <-chan time.Time, stop func()) {
	if !wanted {
		return nil, func() {}
	}
	ticker := time.NewTicker(d)
	return ticker.C, ticker.Stop
}

// listing is all records, or why they could not be stored and listed.
type listing struct {
	rows []row
	err  error
}

// fill stores all credentials as if as many users had just logged in, and
// lists them: what is shown is what refreshd says.
func (d *demo) fill(ctx context.Context) listing {
	minted, err := d.provider.Mint(practice.MintRequest{Count: d.o.Credentials, First: 1})
	if err != nil {
		return listing{err: err}
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	digits := len(strconv.Itoa(len(minted)))
	for i, m := range minted {
		id := fmt.Sprintf("user-%0*d", digits, i+1) // so that their order as text is their order
		group.Go(func() error { return d.service.put(groupCtx, id, m) })
	}
	if err := group.Wait(); err != nil {
		return listing{err: fmt.Errorf("store the credentials: %w", err)}
	}
	rows, err := d.service.list(ctx)
	return listing{rows: rows, err: err}
}

func (d *demo) took(e event) {
	if d.board.took(e) {
		d.out.event(e)
	}
}

// injectFault has the provider answer 503 for a moment.
func (d *demo) injectFault() error {
	_, err := d.provider.AddFault(practice.Fault{
		Kind: practice.KindStatus, Status: http.StatusServiceUnavailable, For: faultLasts,
	})
	if err != nil {
		return err
	}
	now := time.Now()
	text := fmt.Sprintf("the provider answers 503 for %s", faultLasts)
	d.board.notice = now.Format(clockFormat) + "  " + text
	d.out.notice(text, now)
	return nil
}

// tellEnd tells how it went.
func (d *demo) tellEnd(inOrder bool) {
	if inOrder {
		d.out.line("refreshd has stopped in order")
	}
	d.out.line(ledgerText(d.provider.Summary()))
}
