package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/refreshd/refreshd/internal/credential"
)

// folder is the temporary folder with everything that the demo writes.
type folder string

func (f folder) path(name string) string { return filepath.Join(string(f), name) }
func (f folder) config() string          { return f.path("config.yaml") }
func (f folder) log() string             { return f.path("refreshd.log") }
func (f folder) adminKey() string        { return f.path("data/admin.key") }
func (f folder) redisSocket() string     { return f.path("data/redis/redis.sock") }

const (
	providerName = "practice"
	clientID     = "demo"
	secretFile   = "client.secret"
)

// configText is the configuration of the demo. The limits let every credential
// be refreshed twice within an access token's life.
func configText(listen, providerURL string, perSecond int) string {
	return fmt.Sprintf(`# Written by the demo.
listen: %s
data_dir: ./data
keyset: {file: ./data/keyset.json}
schedule: {min_interval: 0s} # for --access-ttl of a few seconds
providers:
  %s:
    kind: oauth2
    token_url: %s/token
    client_id: %s
    client_secret: {file: ./%s}
    rotation: {rotates: yes}
    limits: {concurrency: 16, per_second: %d}
log: {level: info, format: json}
`, listen, providerName, providerURL, clientID, secretFile, perSecond)
}

// perSecond is a rate at which all credentials are refreshed twice within the
// life of a token, and at least 50.
func perSecond(o Options) int {
	return max(50, int(2*float64(o.Credentials)/o.AccessTTL.Seconds())+1)
}

// write puts the configuration and the client's secret into the folder.
func (f folder) write(config string, secret credential.Secret) error {
	return errors.Join(
		os.WriteFile(f.path(secretFile), []byte(secret.Reveal()), 0o600),
		os.WriteFile(f.config(), []byte(config), 0o600),
	)
}

// preferredAddress is where refreshd listens unless told otherwise.
const preferredAddress = "127.0.0.1:7420"

// freeAddress is the preferred address if nobody listens there, else another
// one of loopback that is free.
func freeAddress(ctx context.Context, preferred string) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", preferred)
	if errors.Is(err, syscall.EADDRINUSE) {
		l, err = lc.Listen(ctx, "tcp", "127.0.0.1:0")
	}
	if err != nil {
		return "", fmt.Errorf("find an address to listen on: %w", err)
	}
	return l.Addr().String(), l.Close()
}
