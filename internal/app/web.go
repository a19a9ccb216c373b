package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/refreshd/refreshd/internal/api"
	"github.com/refreshd/refreshd/internal/config"
	"github.com/refreshd/refreshd/internal/logging"
)

// metricsHeaderTimeout bounds how long a scraper takes to ask.
const metricsHeaderTimeout = 5 * time.Second

// startAPI begins to answer, last of all: whoever is answered gets the whole
// service. Where the role is not this process's, only the metrics are served,
// if they have an address of their own.
func (s *service) startAPI(ctx context.Context) error {
	metrics := promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{ErrorLog: logging.HTTPErrors(logging.Component(s.log, "metrics"))})
	if s.conf.Load().MetricsListen != "" {
		server := &http.Server{Handler: metrics, ReadHeaderTimeout: metricsHeaderTimeout}
		if _, err := s.serve(ctx, "metrics", s.conf.Load().MetricsListen, server); err != nil {
			return err
		}
	}
	if !s.opts.Roles.API {
		return nil
	}
	log := logging.Component(s.log, "api")
	handler, err := api.New(api.Options{
		Engine: apiEngine{s.engine, s.canLogin, s.providerOf}, Control: apiControl{s.engine}, SendOf: s.sendOf, Records: apiRecords{s.store, s.engine, s.checkInstallation}, Events: apiEvents{s.events, s.source(), s.clock.Now},
		Keys: apiKeys{store: s.store, engine: s.engine, log: log, revoked: new(sync.Map), installed: s.checkInstallation}, Tickets: apiTickets{s.store}, Service: apiService{s}, Signals: apiSignals{s}, Subscriptions: apiSubscriptions{s}, Endpoints: apiSubscriptions{s}, Origins: func() []string { return s.conf.Load().CORS.Origins }, Emptied: s.emptied,
		Now: s.clock.Now, Version: s.opts.Version, Source: s.source(), Log: log, Registerer: s.registry,
		Metrics: metrics, Monitoring: dashboard(s.redis.QueueClient()),
	})
	if err != nil {
		return err
	}
	server := handler.Server()
	server.ErrorLog = logging.HTTPErrors(log)
	s.address, err = s.serve(ctx, "api", s.conf.Load().Listen, server)
	return err
}

// serve listens on an address and serves there until the service stops.
func (s *service) serve(ctx context.Context, name, address string, server *http.Server) (string, error) {
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", address)
	if err != nil {
		key := map[string]string{"api": "listen", "metrics": "metrics_listen"}[name]
		if errors.Is(err, syscall.EADDRINUSE) {
			return "", fmt.Errorf("%s: %w; stop what listens there, or set another address", key, err)
		}
		return "", fmt.Errorf("%s: %w", key, err)
	}
	run := func() error { return server.Serve(l) }
	if pair, err := keyPair(s.conf.Load().TLS); err != nil {
		return "", errors.Join(err, l.Close())
	} else if pair != nil {
		s.tls.Store(pair)
		server.TLSConfig = &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.tls.Load(), nil },
		}
		run = func() error { return server.ServeTLS(l, "", "") }
	}
	done := make(chan error, 1)
	go func() { done <- run() }()
	s.life.add(name, func(ctx context.Context) error {
		err := server.Shutdown(ctx)
		if err != nil {
			err = errors.Join(err, server.Close()) // what is left of the calls must not outlive what it uses
		}
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	})
	return l.Addr().String(), nil
}

// keyPair reads the certificate, nil if none is configured.
func keyPair(conf config.TLS) (*tls.Certificate, error) {
	if conf.Cert == "" {
		return nil, nil //nolint:nilnil // none is an answer
	}
	pair, err := tls.LoadX509KeyPair(conf.Cert, conf.Key)
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	return &pair, nil
}
