package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"maps"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/refreshd/refreshd/internal/redisurl"
	"github.com/refreshd/refreshd/internal/subscription"
	"github.com/refreshd/refreshd/internal/webaddr"
)

// nameShape is what names of providers look like: they become parts of Redis
// keys and of environment variables.
var nameShape = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

const (
	maxShards    = 64
	minRetention = time.Hour
	maxJitter    = 0.3

	maxConcurrency = 10_000
	// minRate is a call in under three hours: with less, nothing is kept fresh, and a
	// slip of the exponent looks like an outage.
	minRate = 0.0001 // calls per second
	maxRate = 100_000
	// maxMinInterval is the shortest life that providers are known to give.
	maxMinInterval = time.Minute
	latestPlan     = 0.9 // of a token's life: a planned refresh leaves the rest
	minTimeout     = time.Second
	maxTimeout     = 5 * time.Minute
	minStep        = 100 * time.Millisecond
	maxStep        = time.Minute
	minSilence     = time.Second // heartbeats come once in that time
	maxQuarantine  = 7 * 24 * time.Hour
	// maxYears is longer than anything is kept or lives by design: ten years.
	maxYears = 3660 * 24 * time.Hour
)

// checkSpan refuses a duration that cannot be meant, a negative one with it.
func (l *loader) checkSpan(key string, d, least, most time.Duration, remedy string) {
	if l.readable(key) && (d < least || d > most) {
		l.refuse(key, "%s does not lie between %s and %s; %s", d, least, most, remedy)
	}
}

// checkRecovery looks at the allowances of an attempt's steps.
func (l *loader) checkRecovery() {
	r := l.cfg.Recovery
	for key, d := range map[string]time.Duration{"send": r.Send, "commit": r.Commit, "margin": r.Margin} {
		l.checkSpan("recovery."+key, d, minStep, maxStep, "leave it out for 5s")
	}
	l.checkSpan("recovery.silence", r.Silence, minSilence, maxTimeout, "leave it out for 5s")
	l.checkSpan("recovery.quarantine", r.Quarantine, minTimeout, maxQuarantine, "leave it out for 10m")
}

// inherit gives providers what they did not set themselves.
func (l *loader) inherit() {
	for name, p := range l.cfg.Providers {
		if p.Fetch.IsZero() {
			p.Fetch = l.cfg.Schedule.Fetch
		}
		for _, c := range []*HTTPCall{&p.Login, &p.Refresh, &p.Logout, &p.Session.Extend, &p.Verify, &p.UserData} {
			if r := &c.Request; r.Method == "" && r.GraphQL.Query != "" {
				r.Method = http.MethodPost
			}
		}
		l.cfg.Providers[name] = p
	}
}

// check looks at what only shows when values are seen together, or is too
// much for a type.
func (l *loader) check() {
	c := l.cfg
	l.checkAddresses()
	l.checkStore()
	l.checkSchedule()
	l.checkRecovery() // before providers, whose times are compared with it
	for _, name := range slices.Sorted(maps.Keys(c.Providers)) {
		l.checkProvider(name, c.Providers[name])
	}
	l.checkSubscriptions()
	l.checkSSF()
	l.checkSpan("events.retention", c.Events.Retention, minRetention, maxYears, "leave it out for 96h")
	for i, prefix := range c.Network.Allow {
		key := "network.allow[" + strconv.Itoa(i) + "]"
		if masked := prefix.Masked(); masked != prefix {
			l.warn(key, "%s allows all of %s, not %s alone; write %s if that is meant, else %s", prefix, masked, prefix.Addr(), masked, prefix.Addr())
			c.Network.Allow[i] = masked
		}
		if prefix.Bits() == 0 {
			l.warn(key, "%s allows every address, so webhooks may reach whatever this machine can reach; list only what is needed", prefix)
		}
	}
	l.checkOrigins()
	l.checkTLS()
}

func (l *loader) checkAddresses() {
	for key, addr := range map[string]string{"listen": l.cfg.Listen, "metrics_listen": l.cfg.MetricsListen} {
		if addr == "" && key == "metrics_listen" {
			continue
		}
		host, port, err := net.SplitHostPort(addr)
		number, portErr := strconv.ParseUint(port, 10, 16)
		switch {
		case err == nil && errors.Is(portErr, strconv.ErrRange):
			l.refuse(key, "%s is not a port; write one from 1 to 65535, or 0 for any that is free", port)
		case err != nil || portErr != nil:
			l.refuse(key, "%q is not host:port; write one like 127.0.0.1:7420", addr)
		case key == "listen" && !webaddr.IsLoopback(host) && l.cfg.TLS == (TLS{}):
			l.warn(key, "%s can be reached from outside without TLS, and tokens travel in the clear; set tls, or see to it that something in front does", addr)
		case key == "metrics_listen" && number != 0 && addr == l.cfg.Listen:
			l.refuse(key, "%s is the address of listen too; choose another, or leave metrics_listen out", addr)
		}
	}
}

func (l *loader) checkStore() {
	c := l.cfg
	if c.DataDir == "" {
		l.refuse("data_dir", "it is empty; name a folder")
	}
	if n := c.Redis.Shards; n < 1 || n > maxShards {
		l.refuse("redis.shards", "%d is not from 1 to %d; 1 is enough for a single Redis", n, maxShards)
	}
	if url := c.Redis.URL; !url.IsZero() {
		if _, err := redisurl.Parse(url); err != nil {
			l.refuse("redis.url", "%v", err)
		}
	}
	if c.Keyset.File == "" {
		l.refuse("keyset.file", "it is empty; name the file of the encryption keys, which is created where it is missing")
		return
	}
	l.checkKeyset(c.Keyset.File)
}

// checkKeyset looks at the file of the encryption keys, if it is there already. It
// may lie where only the service's user can look, and what is wrong with its folder is
// told of data_dir.
func (l *loader) checkKeyset(path string) {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, unix.ELOOP):
		l.refuse("keyset.file", "%v; name a file that is none of these links, or one that is not there yet", err)
	case err != nil:
	case !st.Mode().IsRegular():
		l.refuse("keyset.file", "%s is not a regular file; name one that is, or one that is not there yet", path)
	case st.Mode().Perm()&0o077 != 0:
		l.refuse("keyset.file", "the file %s can be read or written by others (mode %04o); run: chmod 600 %s", path, st.Mode().Perm(), path)
	}
}

func (l *loader) checkSchedule() {
	const refreshAt, jitter = "schedule.refresh_at", "schedule.jitter"
	s := l.cfg.Schedule
	if s.RefreshAt <= 0 || s.RefreshAt >= 1 {
		l.refuse(refreshAt, "%v does not lie between 0 and 1; it is a part of a token's life, 0.66 for two thirds", s.RefreshAt)
	}
	if s.Jitter < 0 || s.Jitter > maxJitter {
		l.refuse(jitter, "%v does not lie between 0 and %v; it is a part of a token's life, 0.1 for a tenth", s.Jitter, maxJitter)
	}
	l.checkSpan("schedule.min_interval", s.MinInterval, 0, maxMinInterval, "leave it out for 10s")
	if !l.readable(refreshAt, jitter) {
		return
	}
	const rounding = 1e-9
	if sum := s.RefreshAt + s.Jitter; sum > latestPlan+rounding {
		l.refuse(refreshAt, "%v and schedule.jitter %v together are %.3g, and a refresh must leave a tenth of a token's life; lower one of them until the sum is at most %v",
			s.RefreshAt, s.Jitter, sum, latestPlan)
	}
	if s.RefreshAt-s.Jitter <= 0 {
		l.refuse(refreshAt, "%v is not above schedule.jitter %v, so that some tokens would be refreshed at once; lower the jitter", s.RefreshAt, s.Jitter)
	}
}

func (l *loader) checkTLS() {
	t := l.cfg.TLS
	switch {
	case t == (TLS{}):
		return
	case t.Cert == "":
		l.refuse("tls.cert", "it is missing beside tls.key; name the certificate, or remove both")
		return
	case t.Key == "":
		l.refuse("tls.key", "it is missing beside tls.cert; name the key, or remove both")
		return
	}
	l.files = append(l.files, t.Cert, t.Key)
	cert, err := readFile(t.Cert)
	if err != nil {
		l.refuse("tls.cert", "%v", withRemedy(err, "name the file that has the certificate, or remove tls"))
	}
	key, keyErr := readPrivate(t.Key, maxSecret)
	if keyErr != nil {
		l.refuse("tls.key", "%v", withRemedy(keyErr, "name the file that has the certificate's key, or remove tls"))
	}
	if err != nil || keyErr != nil {
		return
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		l.refuse("tls.cert", "%s and %s are not a certificate and its key: %v; name two that belong together", t.Cert, t.Key, err)
	}
}

// checkCA looks at a file of certificate authorities, of a provider or a sink.
func (l *loader) checkCA(key, path string) {
	if path == "" {
		return
	}
	l.files = append(l.files, path)
	pem, err := readFile(path)
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(pem) {
		err = errors.New("the file " + path + " holds no certificate in PEM form; name one that does, or remove it")
	}
	if err != nil {
		l.refuse(key, "%v", withRemedy(err, "name the file that has the certificates, or remove it"))
	}
}

func (l *loader) checkSubscriptions() {
	first := map[string]string{}
	for i, s := range l.cfg.Subscriptions {
		key := "subscriptions[" + strconv.Itoa(i) + "]"
		if l.readable(key + ".name") {
			if before, twice := first[s.Name]; twice {
				l.refuse(key+".name", "%q is the name of %s too, and names are unique; choose another", s.Name, before)
			} else if err := subscription.CheckName(s.Name); err != nil {
				l.refuse(key+".name", "%v", err)
			}
			first[s.Name] = key
		}
		l.checkSubscription(key, s)
	}
}

func (l *loader) checkSubscription(key string, s Subscription) {
	known := func(name string) bool { _, ok := l.cfg.Providers[name]; return ok }
	rules := subscription.Rules{Allow: l.cfg.Network.Allow, Provider: known}
	problems := s.Settings().CheckChoice(rules)
	l.checkSink(key, s)
	if s.Format == FormatCAEP {
		l.checkStream(key, s)
		if len(s.Types) == 0 { // all that becomes a security event
			problems = slices.DeleteFunc(problems, func(p subscription.Problem) bool { return p.Field == "types" })
		}
	} else {
		l.checkNoStream(key, s)
	}
	if s.Format == subscription.FormatWebhook {
		problems = append(s.Settings().CheckWebhook(rules), problems...)
	}
	for _, p := range problems {
		if at := join(key, p.Field); l.readable(at) {
			l.refuse(at, "%s", p.Text)
		}
	}
}
