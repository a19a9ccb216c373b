package chaos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// A link is a way between two parts that can be made bad.
type link struct {
	name   string
	server *toxiproxy.ApiServer

	mu    sync.Mutex
	proxy *toxiproxy.Proxy
	bad   bool
}

// links makes and keeps links.
type links struct {
	server *toxiproxy.ApiServer
	all    []*link
}

func newLinks() *links {
	return &links{server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())}
}

// open makes a link to an address.
func (l *links) open(name, upstream string) (*link, error) {
	var err error
	for range portsTried {
		address := net.JoinHostPort(ownAddress(os.Getpid()), strconv.Itoa(lowPort+rand.IntN(lowPorts)))
		one := &link{name: name, server: l.server, proxy: toxiproxy.NewProxy(l.server, name, address, upstream)}
		if err = one.proxy.Start(); err == nil {
			l.all = append(l.all, one)
			return one, nil
		}
	}
	return nil, fmt.Errorf("link %s: %w", name, err)
}

// Links listen below the ports that a kernel gives to outgoing connections, on
// an address that other programs do not use: one of those could take a link's
// port while it is shut.
const (
	lowPort    = 20000
	lowPorts   = 12000
	portsTried = 50
)

// ownAddress is the loopback address of a process: two campaigns may run at once.
func ownAddress(pid int) string {
	return fmt.Sprintf("127.%d.%d.%d", 64+pid>>16&63, pid>>8&255, pid&255)
}

func (l *links) close() {
	for _, one := range l.all {
		one.mu.Lock()
		one.proxy.Stop()
		one.mu.Unlock()
	}
}

// address is where the link listens.
func (l *link) address() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.proxy.Listen
}

// toxic makes the link bad in one direction: "upstream" is towards the server.
func (l *link) toxic(kind, stream string, attributes map[string]any) error {
	data, err := json.Marshal(map[string]any{"type": kind, "stream": stream, "attributes": attributes})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bad = true
	_, err = l.proxy.Toxics.AddToxicJson(bytes.NewReader(data))
	return err
}

// mend puts a good link in the place of a bad one, which cuts what goes over
// it. A toxic is never taken out of a living connection: toxiproxy waits there
// for a neighbour that may be writing to somebody who does not read, and holds
// the lock meanwhile that every new connection needs.
func (l *link) mend() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.bad {
		return nil
	}
	l.proxy.Stop()
	l.proxy = toxiproxy.NewProxy(l.server, l.name, l.proxy.Listen, l.proxy.Upstream)
	if err := l.proxy.Start(); err != nil {
		return fmt.Errorf("link %s: %w", l.name, err)
	}
	l.bad = false
	return nil
}

// refuse shuts the link's door: whoever comes is refused, and whoever is there
// is cut off.
func (l *link) refuse() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bad = true
	l.proxy.Stop()
}

// lead leads the link elsewhere; what goes over it is cut off.
func (l *link) lead(upstream string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.proxy.Update(&toxiproxy.Proxy{Listen: l.proxy.Listen, Upstream: upstream, Enabled: l.proxy.Enabled})
}

// spoil does to the link what a kind of fault says. What is delayed on its way
// to a server stays below what the service allows for.
func (l *link) spoil(kind string, n uint64) error {
	both := func(toxic string, attributes map[string]any) error {
		if err := l.toxic(toxic, "upstream", attributes); err != nil {
			return err
		}
		return l.toxic(toxic, "downstream", attributes)
	}
	switch kind {
	case kindDeaf:
		switch n % 3 {
		case 0:
			return l.toxic("timeout", "upstream", map[string]any{"timeout": 0})
		case 1:
			return l.toxic("timeout", "downstream", map[string]any{"timeout": 0})
		default:
			return both("timeout", map[string]any{"timeout": 0})
		}
	case kindCutOff:
		return l.toxic("reset_peer", []string{"upstream", "downstream"}[n%2], map[string]any{"timeout": n % 100})
	case kindLatency:
		return both("latency", map[string]any{"latency": 20 + n%100, "jitter": n % 50})
	case kindNarrow:
		return both("bandwidth", map[string]any{"rate": 20 + n%100})
	case kindSliced:
		return both("slicer", map[string]any{"average_size": 20 + n%100, "size_variation": n % 20, "delay": n % 2000})
	case kindRefused:
		l.refuse()
		return nil
	default:
		return fmt.Errorf("a link knows no %q", kind)
	}
}
