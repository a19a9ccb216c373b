package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// tokenReply is refreshd's answer to a token read and to a refresh. A refresh
// that was left to another process is only queued.
type tokenReply struct {
	AccessToken string    `json:"access_token"`
	TokenType   string    `json:"token_type"`
	ExpiresAt   time.Time `json:"expires_at"`
	ExpiresIn   int64     `json:"expires_in"`
	Scope       string    `json:"scope"`
	Version     uint64    `json:"version"`
	Generation  uint64    `json:"generation"`
	Send        struct {
		As   string `json:"as"`
		Name string `json:"name"`
	} `json:"send"`

	Queued bool `json:"queued"`
}

// mostLeft bounds the seconds that a reply gives a token, which refreshd grants
// 366 days at most: more would overflow a duration.
const mostLeft = 400 * 24 * 60 * 60

// skew is by how much two clocks may differ and count as one.
const skew = 5 * time.Second

// held turns the reply to what was sent then into a token. refreshd's clock may
// be another machine's, so the token's end is reckoned from when it was asked
// for, where the two differ.
func (r tokenReply) held(sent time.Time, minTTL time.Duration) (*held, error) {
	left := time.Duration(min(r.ExpiresIn, mostLeft)) * time.Second
	end := sent.Add(left)
	switch {
	case r.AccessToken == "" || !headerSafe(r.AccessToken) || !headerSafe(r.TokenType) || !headerSafe(r.Send.Name):
		return nil, &UnavailableError{Err: errors.New("refreshd: the reply has no token that a request could carry")}
	case r.Send.As != "" && r.Send.As != SendBearer && r.Send.Name == "":
		return nil, &UnavailableError{Err: errors.New("refreshd: the reply does not tell how a request carries the token")}
	case time.Since(sent) >= left-spare:
		return nil, &UnavailableError{Err: errors.New("refreshd: the token ended before it arrived"), RetryAfter: spare}
	}
	if off := r.ExpiresAt.Sub(end); off.Abs() < skew {
		end = r.ExpiresAt
	}
	send := Send{As: r.Send.As, Name: r.Send.Name}
	if send.As == "" {
		send.As = SendBearer
	}
	return hold(Token{
		AccessToken: r.AccessToken, TokenType: r.TokenType, Scope: r.Scope, ExpiresAt: end,
		Generation: r.Generation, Version: r.Version, Send: send,
	}, sent, left, minTTL), nil
}

// fetch asks for a token that stays valid for at least minTTL.
func (c *Client) fetch(ctx context.Context, id string, minTTL time.Duration) (*held, error) {
	query := ""
	if minTTL > 0 {
		query = fmt.Sprintf("?min_ttl=%s", minTTL)
	}
	var reply tokenReply
	sent := time.Now()
	if err := c.callFor(ctx, http.MethodGet, id, "/token"+query, nil, &reply); err != nil {
		return nil, err
	}
	return reply.held(sent, c.minTTL)
}

const (
	// queuedFor is how long a refresh is waited for that refreshd has left to
	// another of its processes, and queuedPoll how often it is looked for.
	queuedFor  = 15 * time.Second
	queuedPoll = 250 * time.Millisecond
)

// exchange has a rejected generation replaced, whatever generation that is if
// it is 0. Where that is left to another process, a generation above least is
// waited for.
func (c *Client) exchange(ctx context.Context, id string, rejected, least uint64) (*held, error) {
	body := struct {
		RejectedGeneration uint64 `json:"rejected_generation,omitempty"`
	}{rejected}
	var reply tokenReply
	sent := time.Now()
	if err := c.callFor(ctx, http.MethodPost, id, "/refresh", body, &reply); err != nil {
		return nil, err
	}
	if !reply.Queued {
		return reply.held(sent, c.minTTL)
	}
	return c.queued(ctx, id, least)
}

// queued waits for a refresh that another process of refreshd makes, which
// brings a generation above least.
func (c *Client) queued(ctx context.Context, id string, least uint64) (*held, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, queuedFor, errSlow)
	defer cancel()
	tick := time.NewTicker(queuedPoll)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, &UnavailableError{Err: errors.New("refreshd: the refresh that was asked for has not been made yet"), RetryAfter: askAgain}
		}
		h, err := c.fetch(ctx, id, 0)
		switch {
		case err == nil && h.token.Generation > least:
			return h, nil
		case err != nil && !errors.Is(err, ErrUnavailable) && ctx.Err() == nil:
			return nil, err
		}
	}
}
