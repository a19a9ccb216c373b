package practice

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strconv"
)

const (
	maxAdminBody = 1 << 20
	ndjsonType   = "application/x-ndjson"
)

// problem is an error reply of the admin interface.
type problem struct {
	Error string `json:"error"`
}

func (s *Server) adminRoutes(mux *http.ServeMux) {
	handle := func(pattern string, h http.HandlerFunc) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if !s.mayAdminister(r) {
				w.Header().Set("WWW-Authenticate", `Bearer realm="practice admin"`)
				s.writeJSON(w, http.StatusUnauthorized, problem{"the admin key is needed as a bearer token"})
				return
			}
			h(w, r)
		})
	}
	handle("POST /admin/grants", s.adminMint)
	handle("GET /admin/grants", s.adminGrants)
	handle("GET /admin/grants/{id}", s.adminGrant)
	handle("POST /admin/grants/{id}/revoke", s.adminRevoke)
	handle("GET /admin/ledger", s.adminLedger)
	handle("GET /admin/ledger/summary", func(w http.ResponseWriter, _ *http.Request) {
		s.writeJSON(w, http.StatusOK, s.Summary())
	})
	handle("POST /admin/faults", s.adminAddFault)
	handle("GET /admin/faults", func(w http.ResponseWriter, _ *http.Request) {
		s.writeJSON(w, http.StatusOK, s.Faults())
	})
	handle("DELETE /admin/faults", func(w http.ResponseWriter, _ *http.Request) {
		s.ClearFaults()
		w.WriteHeader(http.StatusNoContent)
	})
	handle("DELETE /admin/faults/{id}", func(w http.ResponseWriter, r *http.Request) {
		s.done(w, s.RemoveFault(r.PathValue("id")), "there is no such fault")
	})
	handle("POST /admin/clients", s.adminClient)
	handle("POST /admin/clients/{id}/disable", func(w http.ResponseWriter, r *http.Request) {
		s.done(w, s.DisableClient(r.PathValue("id")), "there is no such client")
	})
	handle("GET /admin/settings", func(w http.ResponseWriter, _ *http.Request) {
		s.writeJSON(w, http.StatusOK, *s.settings.Load())
	})
	handle("POST /admin/settings", s.adminSettings)
}

func (s *Server) mayAdminister(r *http.Request) bool {
	if s.adminKey == "" {
		return true
	}
	key, ok := bearer(r)
	return ok && subtle.ConstantTimeCompare([]byte(key), []byte(s.adminKey)) == 1
}

// done answers a call that has nothing to return.
func (s *Server) done(w http.ResponseWriter, found bool, otherwise string) {
	if !found {
		s.writeJSON(w, http.StatusNotFound, problem{otherwise})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// adminBody decodes a call's body. It has answered where it returns false.
func (s *Server) adminBody(w http.ResponseWriter, r *http.Request, into any) bool {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAdminBody))
	if err == nil {
		err = decodeStrict(data, into)
	}
	if err != nil {
		s.refused(w, err)
	}
	return err == nil
}

func (s *Server) refused(w http.ResponseWriter, err error) {
	status := http.StatusBadRequest
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		status = http.StatusRequestEntityTooLarge
	}
	s.writeJSON(w, status, problem{err.Error()})
}

func (s *Server) adminMint(w http.ResponseWriter, r *http.Request) {
	var req MintRequest
	if !s.adminBody(w, r, &req) {
		return
	}
	minted, err := s.Mint(req)
	if err != nil {
		s.refused(w, err)
		return
	}
	writeLines(w, slices.Values(minted))
}

func (s *Server) adminGrants(w http.ResponseWriter, _ *http.Request) {
	writeLines(w, slices.Values(s.Grants()))
}

func (s *Server) adminGrant(w http.ResponseWriter, r *http.Request) {
	state, ok := s.Grant(r.PathValue("id"))
	if !ok {
		s.writeJSON(w, http.StatusNotFound, problem{"there is no such grant"})
		return
	}
	s.writeJSON(w, http.StatusOK, state)
}

func (s *Server) adminRevoke(w http.ResponseWriter, r *http.Request) {
	s.done(w, s.Revoke(r.PathValue("id")), "there is no such grant")
}

func (s *Server) adminLedger(w http.ResponseWriter, r *http.Request) {
	q := LedgerQuery{Grant: r.URL.Query().Get("grant")}
	if after := r.URL.Query().Get("after"); after != "" {
		var err error
		if q.After, err = strconv.ParseUint(after, 10, 64); err != nil {
			s.refused(w, fmt.Errorf("%w: after is a sequence number: %w", ErrInvalid, err))
			return
		}
	}
	writeLines(w, s.entries(q))
}

func (s *Server) adminAddFault(w http.ResponseWriter, r *http.Request) {
	var f Fault
	if !s.adminBody(w, r, &f) {
		return
	}
	id, err := s.AddFault(f)
	if err != nil {
		s.refused(w, err)
		return
	}
	s.writeJSON(w, http.StatusCreated, faultID{id})
}

type faultID struct {
	ID string `json:"id"`
}

func (s *Server) adminClient(w http.ResponseWriter, r *http.Request) {
	var c Client
	if !s.adminBody(w, r, &c) {
		return
	}
	if c.ID == "" {
		s.refused(w, fmt.Errorf("%w: a client needs an id", ErrInvalid))
		return
	}
	s.SetClientSecret(c.ID, c.Secret)
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) adminSettings(w http.ResponseWriter, r *http.Request) {
	var p SettingsPatch
	if !s.adminBody(w, r, &p) {
		return
	}
	settings, err := s.Configure(p)
	if err != nil {
		s.refused(w, err)
		return
	}
	s.writeJSON(w, http.StatusOK, settings)
}

// writeLines writes one JSON value per line.
func writeLines[T any](w http.ResponseWriter, values iter.Seq[T]) {
	w.Header().Set("Content-Type", ndjsonType)
	enc := json.NewEncoder(w)
	for v := range values {
		if err := enc.Encode(v); err != nil {
			return // the reader has gone
		}
	}
}
