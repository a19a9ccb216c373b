package clienttest_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/refreshd/refreshd/client"
	"github.com/refreshd/refreshd/client/clienttest"
)

// orders is the code under test: it asks a shop on behalf of a user.
func orders(c *client.Client, url string) (string, error) {
	shop := http.Client{Transport: c.Transport("shop:alice", nil)}
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	res, err := shop.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return string(text), err
}

func Example() {
	// In a test this is func TestOrders(t *testing.T).
	testOrders := func(t testing.TB) {
		t.Helper()
		server := clienttest.New(t)
		server.Put("shop:alice", clienttest.Credential{})
		shop := httptest.NewServer(server.Guard("shop:alice", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "3 orders")
		})))
		defer shop.Close()
		c := server.Client(t)

		server.Reject("shop:alice") // the token dies before its time
		text, err := orders(c, shop.URL)
		fmt.Println(text, err, server.Refreshes("shop:alice"))

		server.Reject("shop:alice")
		server.RequireReauth("shop:alice", "invalid_grant") // and now nothing helps but a login
		_, err = orders(c, shop.URL)
		fmt.Println(errors.Is(err, client.ErrReauthRequired))
	}

	done := newExampleTest()
	testOrders(done)
	done.finish()
	// Output:
	// 3 orders <nil> 1
	// true
}

// exampleTest stands in for the test that an example has not got.
type exampleTest struct {
	testing.TB

	cleanups []func()
}

func newExampleTest() *exampleTest { return &exampleTest{} }

func (*exampleTest) Helper()            {}
func (e *exampleTest) Cleanup(f func()) { e.cleanups = append(e.cleanups, f) }

func (e *exampleTest) finish() {
	for _, f := range slices.Backward(e.cleanups) {
		f()
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections() //nolint:errcheck // it is one
}
