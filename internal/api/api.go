package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/refreshd/refreshd/internal/credential"
)

// Options are what an [API] is made of. All but Origins, Metrics, Monitoring and
// Streams are required.
type Options struct {
	Engine  Engine
	Control Control
	Records Records
	Events  Events
	Keys    Keys
	Tickets Tickets
	Service Service
	Signals Signals

	// Origins lists the origins whose pages may call the API from a browser, as
	// browsers write them; nil: none. It is asked for each request.
	Origins func() []string

	// Emptied tells that the store has lost what it held, and with which words;
	// "" where all is well, nil: it never does. What is not found there may have
	// been stored all the same.
	Emptied func() string

	Subscriptions Subscriptions
	Endpoints     Endpoints

	// SendOf tells how requests carry the tokens of a provider; the zero Send
	// is a bearer token.
	SendOf func(provider string) Send

	Now        func() credential.Millis // the store's clock
	Version    string                   // of refreshd
	Source     string                   // of the events that the API itself makes
	Log        zerolog.Logger
	Registerer prometheus.Registerer

	Metrics    http.Handler // served at /metrics; nil: nothing is
	Monitoring http.Handler // served at /monitoring/, root path "/monitoring"; nil: nothing is
	Streams    StreamOptions
}

// StreamOptions bound the event streams. What is 0 gets its default.
type StreamOptions struct {
	Max       int           // streams and long polls at a time; 1000
	Heartbeat time.Duration // between signs of life on an idle stream; 15 s
	Write     time.Duration // that a client is given to take a batch; 10 s
}

func (o StreamOptions) withDefaults() StreamOptions {
	if o.Max == 0 {
		o.Max = 1000
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = 15 * time.Second
	}
	if o.Write == 0 {
		o.Write = 10 * time.Second
	}
	return o
}

// API is the HTTP API. Create it with [New], serve [API.Server].
type API struct {
	engine  Engine
	control Control
	sendOf  func(provider string) Send
	records Records
	events  Events
	keys    *keyCache
	stored  Keys
	tickets Tickets
	service Service
	origins func() []string
	emptied func() string
	signals Signals

	subscriptions Subscriptions
	endpoints     Endpoints

	now     func() credential.Millis
	version string
	source  string
	log     zerolog.Logger
	metrics *metrics
	streams StreamOptions
	places  chan struct{} // one for each stream that may be open

	mux  *http.ServeMux
	huma huma.API

	stop     chan struct{} // closed when event streams have to end
	stopOnce sync.Once
}

// New returns an API that is ready to serve. It fails only if its own
// description cannot be encoded.
func New(o Options) (*API, error) {
	streams := o.Streams.withDefaults()
	a := &API{
		engine: o.Engine, control: o.Control, sendOf: o.SendOf, records: o.Records, events: o.Events, keys: newKeyCache(o.Keys), stored: o.Keys, tickets: o.Tickets, service: o.Service, signals: o.Signals, origins: o.Origins, emptied: o.Emptied,
		subscriptions: o.Subscriptions, endpoints: o.Endpoints,
		now: o.Now, version: o.Version, source: o.Source, log: o.Log, metrics: newMetrics(o.Registerer),
		streams: streams, places: make(chan struct{}, streams.Max),
		mux: http.NewServeMux(), stop: make(chan struct{}),
	}
	a.huma = humago.New(a.mux, describe(o.Version))
	a.credentialRoutes()
	a.tokenRoutes()
	a.sessionRoutes()
	a.pauseRoutes()
	a.eventRoutes()
	a.ticketRoutes()
	a.signalRoutes()
	a.subscriptionRoutes()
	a.endpointRoutes()
	a.keyRoutes()
	a.statusRoutes()
	if err := a.plainRoutes(o); err != nil {
		return nil, err
	}
	return a, nil
}

// plainRoutes registers what is no operation.
func (a *API) plainRoutes(o Options) error {
	dropUnused(a.huma.OpenAPI())
	document, err := json.Marshal(a.huma.OpenAPI())
	if err != nil {
		return fmt.Errorf("encode the OpenAPI document: %w", err)
	}
	a.mux.Handle("GET /openapi.json", a.keyed(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", jsonType)
		_, _ = w.Write(document) // whoever asked may be gone
	}), true))
	if o.Metrics != nil {
		a.mux.Handle("GET /metrics", a.keyed(o.Metrics, false))
	}
	if o.Monitoring != nil {
		a.mux.Handle(monitoringRoot+"/", a.monitoring(o.Monitoring))
	}
	a.mux.HandleFunc("/", a.noRoute)
	return nil
}

// StopStreams ends every event stream and long poll, and lets none begin. The
// server's Shutdown calls it; it can be called more than once.
func (a *API) StopStreams() { a.stopOnce.Do(func() { close(a.stop) }) }

// stopping reports whether the event streams have to end.
func (a *API) stopping() bool {
	select {
	case <-a.stop:
		return true
	default:
		return false
	}
}
