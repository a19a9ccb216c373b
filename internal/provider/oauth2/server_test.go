package oauth2_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/refreshd/refreshd/internal/credential"
	"github.com/refreshd/refreshd/internal/provider/oauth2"
)

// say answers with a status and a body.
func say(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body)) //nolint:gosec,nolintlint // no browser reads it; gosec does not always see that somebody might
	}
}

// newProvider returns a provider that is closed when the test ends.
func newProvider(t *testing.T, o oauth2.Options) *oauth2.Provider {
	t.Helper()
	if o.Name == "" {
		o.Name = "acme"
	}
	if o.ClientID == "" {
		o.ClientID = "client"
	}
	p, err := oauth2.New(o)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

// kept records what an exchange wanted to be kept.
type kept struct {
	found []credential.Found
	err   error
}

func (k *kept) keep(f credential.Found) error {
	k.found = append(k.found, f)
	return k.err
}

// presenting is a presentation that may always be sent.
func presenting(refresh credential.Secret, keep func(credential.Found) error) credential.Presentation {
	return credential.Presentation{Token: credential.Token{Refresh: refresh}, MaySend: func() error { return nil }, Keep: keep}
}

// exchange presents a refresh token named RT-old.
func exchange(t *testing.T, p *oauth2.Provider) (credential.Outcome, *kept) {
	t.Helper()
	k := new(kept)
	return p.Exchange(t.Context(), presenting(credential.NewSecret("RT-old"), k.keep), ""), k
}
