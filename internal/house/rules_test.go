package house_test

// module is the path under which the packages of this repository import each
// other.
const module = "github.com/refreshd/refreshd"

// anything as the only entry of layer.may stands for every package that is not
// for tests.
const anything = "*"

// A layer says what the packages in one folder, and in the folders under it,
// may import. A folder's own tree is always allowed. Only files that are not
// tests are bound by it.
type layer struct {
	// dir is the folder, relative to the module's root.
	dir string
	// may lists the folders of this module that may be imported.
	may []string
	// stdlibOnly forbids every module but the standard library and this one.
	stdlibOnly bool
	// alone keeps to may: what is common is forbidden as well.
	alone bool
	// never lists other modules that must not be imported.
	never []string
	// why is shown to whoever breaks the rule.
	why string
}

// A guard says who may import a package that few should.
type guard struct {
	// pkg is the guarded folder or import path, with everything under it.
	pkg string
	// by lists the folders that may import it, beside pkg's own tree.
	by []string
	// why is shown to whoever breaks the rule.
	why string
}

// rules is what check goes by.
type rules struct {
	layers []layer
	// common lists the folders that every layer may import, but those that
	// keep to the standard library or stand alone.
	common []string
	guards []guard
	// support lists the folders that exist for tests and measurements: they
	// may import what they exercise and are imported by tests alone. A folder
	// whose name ends in "test" (storetest) counts as well.
	support []string
}

// houseRules are the rules of this repository. The longest matching layer
// counts, so that "internal" is for every folder without a line of its own.
func houseRules() rules {
	return rules{
		layers: []layer{
			{
				dir: "cmd/refreshd",
				may: []string{"internal/app", "internal/config", "internal/logging"},
				why: "the program parses flags, handles signals and exits; the wiring lives in internal/app",
			},
			{
				dir: "cmd/practice",
				may: []string{"internal/demo", "internal/logging", "internal/practice", "internal/testproc"},
				why: "the practice program never contains the service, it talks to it from outside",
			},
			{
				dir: "scheduler",
				may: []string{"tasks", "internal/credential", "internal/schedule"},
				why: "the scheduler knows tasks, credentials and times; for the rest it declares the small interface it needs",
			},
			{
				dir: "worker",
				may: []string{"tasks", "internal/credential"},
				why: "the worker knows tasks and credentials; for the rest it declares the small interface it needs",
			},
			{
				dir: "tasks",
				may: []string{"internal/credential"},
				why: "what travels through the queue is named by credentials alone",
			},
			{
				dir:   "client",
				alone: true,
				never: []string{"github.com/rs/zerolog"},
				why:   "the SDK speaks the HTTP API; whoever imports it must get neither the service nor a logger with it",
			},
			{
				dir:   "examples",
				may:   []string{"client"},
				alone: true,
				why:   "an example has what its readers have: the SDK",
			},
			{
				dir:        "internal/credential",
				stdlibOnly: true,
				why:        "the domain is pure: standard library only",
			},
			{
				dir: "internal/seal",
				may: []string{"internal/credential"},
				why: "encryption at rest serves every layer above and knows none",
			},
			{
				dir: "internal/provider",
				may: []string{"internal/credential", "internal/reqtemplate", "internal/seal"},
				why: "talking to authorization servers needs no store, no queue and no event log",
			},
			{
				dir: "internal/store",
				may: []string{"internal/credential", "internal/seal"},
				why: "the store keeps what it is given; it decides nothing about refreshes",
			},
			{
				dir: "internal/event",
				may: []string{"internal/credential", "internal/seal"},
				why: "events are read through interfaces of their own and expanded",
			},
			{
				dir: "internal/delivery",
				may: []string{"internal/credential", "internal/event", "internal/webaddr"},
				why: "deliveries read events and carry them outwards; what is stored of them comes through interfaces of their own",
			},
			{
				dir: "internal/ssf",
				may: []string{"internal/credential", "internal/event"},
				why: "security event tokens are made of events; where keys and places are kept comes through interfaces of their own",
			},
			{
				dir: "internal/journal",
				may: []string{"internal/credential", "internal/seal"},
				why: "the journal must work when everything else does not",
			},
			{
				dir: "internal/refresh",
				may: []string{"internal/credential"},
				why: "the refresh is tested against fakes of the interfaces it declares; internal/app hands in the real ones",
			},
			{
				dir: "internal/api",
				may: []string{"internal/credential"},
				why: "the API serves interfaces that it declares; internal/app hands in the real ones",
			},
			{
				dir: "internal/console",
				may: []string{"internal/credential"},
				why: "the console shows interfaces that it declares; internal/app hands in the real ones",
			},
			{
				dir: "internal/config",
				may: []string{"internal/credential", "internal/preset", "internal/redisurl", "internal/reqtemplate", "internal/schedule", "internal/subscription", "internal/webaddr"},
				why: "config reads and checks settings; it starts nothing",
			},
			{
				dir: "internal/redisconn",
				may: []string{"internal/credential", "internal/redisurl"},
				why: "a connection to Redis knows credentials for its login, and the reader of its URL, which the check of a configuration asks too",
			},
			{
				dir:        "internal/preset",
				stdlibOnly: true,
				why:        "presets are data: what takes them over knows them, they know nobody",
			},
			{
				dir:        "internal/reqtemplate",
				stdlibOnly: true,
				why:        "config checks templates and the providers render them: the syntax serves both and knows neither",
			},
			{
				dir:        "internal/webaddr",
				stdlibOnly: true,
				why:        "addresses are judged alike wherever they were written down: who writes them knows the judge, the judge knows nobody",
			},
			{
				dir: "internal/subscription",
				may: []string{"internal/credential", "internal/webaddr"},
				why: "subscriptions are settings: what stores them and what delivers come through interfaces of its own",
			},
			{
				dir: "internal/doctor",
				why: "the doctor judges plain facts; internal/app gathers them, and asks",
			},
			{
				dir: "internal/keyset",
				may: []string{"internal/credential", "internal/seal", "internal/store"},
				why: "what is done with the keys needs them, and the store that they seal; which, the configuration says to internal/app",
			},
			{
				dir: "internal/model",
				may: []string{"internal/credential"},
				why: "the model explores the domain's own decisions and nothing else; it keeps the store's rules itself",
			},
			{
				dir: "internal/demo",
				may: []string{"internal/credential", "internal/practice", "internal/testproc"},
				why: "the demo drives the built program from outside",
			},
			{
				dir: "internal/app",
				may: []string{anything},
				why: "the wiring is part of the service, and nothing that exists for tests is",
			},
			{
				dir: "internal",
				may: []string{"internal/credential"},
				why: "a package without a rule of its own knows credentials only; a new layer gets a rule here and in .golangci.yaml",
			},
		},
		common: []string{"internal/failpoint"},
		guards: []guard{
			{
				pkg: "internal/config",
				by:  []string{"cmd", "internal/app"},
				why: "settings arrive as an options struct of the package's own",
			},
			{
				pkg: "internal/logging",
				by:  []string{"cmd", "internal/app"},
				why: "a logger is handed in; how it is set up is the program's matter",
			},
			{
				pkg: "internal/redisconn",
				by:  []string{"internal/app"},
				why: "Redis clients are handed in by internal/app",
			},
			{
				pkg: "internal/app",
				by:  []string{"cmd/refreshd"},
				why: "the wiring is imported by the program alone",
			},
			{
				pkg: "internal/practice",
				by:  []string{"cmd/practice", "internal/demo"},
				why: "the practice provider never becomes part of the service",
			},
			{
				pkg: "internal/testproc",
				by:  []string{"cmd/practice", "internal/demo"},
				why: "processes for tests never become part of the service",
			},
			{
				pkg: "internal/demo",
				by:  []string{"cmd/practice"},
				why: "the demo belongs to the practice program",
			},
			{
				pkg: "github.com/hibiken/asynq",
				by:  []string{"internal/app", "scheduler", "tasks", "worker"},
				why: "the queue is known to tasks, scheduler, worker and the wiring alone",
			},
			{
				pkg: "github.com/hibiken/asynqmon",
				by:  []string{"internal/app"},
				why: "mounted by the wiring, behind our own authentication",
			},
			{
				pkg: "github.com/redis/go-redis",
				by:  []string{"examples/stream", "internal/app", "internal/redisconn", "internal/redisurl", "internal/store"},
				why: "Redis is spoken in internal/store; everyone else declares an interface",
			},
			{
				pkg: "github.com/nats-io/nats.go",
				by:  []string{"internal/delivery/jetstream"},
				why: "NATS is spoken by its own carrier alone",
			},
			{
				pkg: "github.com/twmb/franz-go",
				by:  []string{"internal/delivery/kafka"},
				why: "Kafka is spoken by its own carrier alone",
			},
			{pkg: "testing", why: testLibraries},
			{pkg: "github.com/google/go-cmp", why: testLibraries},
			{pkg: "github.com/stretchr/testify", why: testLibraries},
			{pkg: "go.uber.org/goleak", why: testLibraries},
			{pkg: "pgregory.net/rapid", why: testLibraries},
		},
		support: []string{"bench", "internal/testproc", "test"},
	}
}

const testLibraries = "test libraries stay out of the programs"
