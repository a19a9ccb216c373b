package backends

import (
	_ "embed"
	"net/http"
	"strings"
	"time"
)

// The user whom every shape knows.
const (
	ShapesUser     = "alice"
	ShapesPassword = "practice-password"
)

//go:embed shapes.yaml
var shapesConfig string

// Shapes serves a backend of each shape, under a path of its own: /password,
// /bearer, /header, /cookie and /graphql. Tokens live for life; sessions end when
// they are unused for idle. [ShapesUser] can log in everywhere.
func Shapes(life, idle time.Duration) http.Handler {
	mux := http.NewServeMux()
	for name, o := range map[string]Options{
		"password": {Kind: KindBearer, Life: life},
		"bearer":   {Kind: KindBearer, Life: life, Refreshes: true},
		"header":   {Kind: KindHeader, Idle: idle},
		"cookie":   {Kind: KindCookie, Idle: idle},
		"graphql":  {Kind: KindGraphQL, Idle: idle},
	} {
		b := New(o)
		b.SetUser(ShapesUser, ShapesPassword, `{"name":"Alice","role":"clerk"}`)
		mux.Handle("/"+name+"/", http.StripPrefix("/"+name, b))
	}
	return mux
}

// ShapesConfig is the config.yaml with which refreshd speaks to [Shapes] at a
// URL. It begins with [ShapesMark].
func ShapesConfig(base string, idle time.Duration) string {
	return strings.NewReplacer("BASE", base, "IDLE", idle.String(), "WARN", (idle / 2).String()).Replace(shapesConfig)
}

// ShapesMark begins a configuration that was written by [ShapesConfig].
const ShapesMark = "# Written by practice backends"
