package oauth2_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/practice"
	"github.com/refreshd/refreshd/internal/provider/oauth2"
)

// A strict provider answers in every malformed way that it knows. Whatever
// came, the token that was kept, or else the one that was presented, is good
// for the next exchange: no refresh token that could be read is lost.
func TestEveryMalformedForm(t *testing.T) {
	t.Parallel()
	const secret = "cs-of-the-client"
	server := practice.New(practice.Options{AccessTTL: time.Hour, Clients: []practice.Client{{ID: "client", Secret: secret}}})
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-served)
	})
	p := newProvider(t, oauth2.Options{
		TokenURL: "http://" + ln.Addr().String() + "/token", ClientSecret: credential.NewSecret(secret), Timeout: time.Minute,
	})
	minted, err := server.Mint(practice.MintRequest{Count: len(practice.Forms())})
	require.NoError(t, err)
	for i, form := range practice.Forms() {
		t.Run(string(form), func(t *testing.T) {
			t.Parallel()
			fault := practice.Fault{Kind: practice.KindMalformed, Form: form, Grant: minted[i].Grant, Count: 1}
			switch form {
			case practice.FormDrip:
				fault.Delay = time.Millisecond // whole before the time is up
			case practice.FormRedirect307, practice.FormRedirect308:
				fault.Location = "http://127.0.0.1:1/elsewhere"
			default:
			}
			_, err := server.AddFault(fault)
			require.NoError(t, err)
			k := new(kept)
			presented := credential.NewSecret(minted[i].RefreshToken)
			out := p.Exchange(t.Context(), presenting(presented, k.keep), "")
			next := presented
			if !out.Token.Refresh.IsZero() {
				next = out.Token.Refresh
				require.Len(t, k.found, 1, "kept before it was looked at")
				assert.True(t, k.found[0].Token.Refresh.Equal(next))
			}
			if form == practice.FormFlood1xx {
				// Its reply comes behind more interim ones than anybody reads:
				// nothing was read, and nothing is claimed.
				assert.Equal(t, credential.ClassAmbiguous, out.Class)
				assert.Empty(t, k.found)
				return
			}
			out = p.Exchange(t.Context(), presenting(next, new(kept).keep), "")
			assert.Equal(t, credential.ClassOK, out.Class, out.Detail)
			for _, entry := range server.Ledger(practice.LedgerQuery{Grant: minted[i].Grant}) {
				assert.NotEqual(t, practice.OutcomeRevoked, entry.Outcome)
			}
		})
	}
}
