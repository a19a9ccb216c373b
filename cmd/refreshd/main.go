// Command refreshd keeps stored credentials fresh. Words go to the standard
// error, data to the standard output.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/refreshd/refreshd/internal/app"
)

// version is set by the linker.
var version = "dev"

// The exit codes.
const (
	exitOK       = 0
	exitFailure  = 1
	exitUsage    = 2
	exitNotFound = 3
	exitPerson   = 4 // only a person can mend it: a login is needed
)

func main() {
	app.QuietLibraries() // once the service has a log, it has them write to it
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// program is what every command works with.
type program struct {
	in     io.Reader
	out    io.Writer
	errOut io.Writer
	config string
	json   bool
}

func run(args []string, in io.Reader, out, errOut io.Writer) int {
	p := &program{in: in, out: out, errOut: errOut}
	root := p.root()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(context.Background())
	if err == nil {
		return exitOK
	}
	p.say("%v", err)
	if coded, ok := errors.AsType[*exitError](err); ok {
		return coded.code
	}
	return exitFailure
}

// exitError carries an exit code.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

const rootHelp = `refreshd keeps stored credentials fresh: it refreshes each before it expires,
hands out valid tokens, and tells subscribers of every change.

Run the service (the shipped config.yaml works as it is):
    refreshd serve --config config.yaml

Store a credential; tokens never stand in arguments:
    echo '{"access_token":"…","refresh_token":"…","expires_in":3600}' |
        refreshd put github:alice --provider acme --subject alice

Use it from a script:
    curl -H "Authorization: Bearer $(refreshd token github:alice)" https://api.example/me

These need no running service: serve, config, doctor, keyset, version, provider
check and provider presets. The others talk to one, and doctor asks it if it
runs. They find it by --config (its listen address, and the admin key in its
data_dir), or by REFRESHD_URL and REFRESHD_KEY.

Exit codes: 0 done, 1 failure, 2 usage, 3 not found, 4 needs a person: a login.`

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use: "refreshd", Short: "Keep stored credentials fresh", Long: rootHelp,
		Version: version, SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		Args:              cobra.ArbitraryArgs, // cobra's own refusal of an unknown command is no usage error to us
		RunE: func(cmd *cobra.Command, given []string) error {
			if len(given) == 0 {
				return cmd.Help()
			}
			return needsSubcommand(cmd, given)
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return p.readOutput(cmd) },
	}
	path := "config.yaml"
	if fromEnv := os.Getenv("REFRESHD_CONFIG"); fromEnv != "" {
		path = fromEnv
	}
	root.PersistentFlags().StringVarP(&p.config, "config", "c", path, "configuration file (REFRESHD_CONFIG)")
	root.PersistentFlags().StringP("output", "o", "text", "text or json")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	root.AddCommand(
		p.serveCommand(), p.putCommand(), p.listCommand(), p.getCommand(), p.tokenCommand(),
		p.refreshCommand(), p.touchCommand(), p.presenceCommand(), p.userDataCommand(),
		p.pauseCommand("pause", "Hold a credential, a provider or everything back", pauseHelp),
		p.pauseCommand("resume", "Let a credential, a provider or everything go on", resumeHelp),
		p.logoutCommand(), p.deleteCommand(), p.eventsCommand(), p.subscriptionCommand(), p.providerCommand(),
		p.signalsCommand(),
		p.statusCommand(), p.doctorCommand(), p.healthcheckCommand(), p.configCommand(), p.keyCommand(), p.keysetCommand(), p.versionCommand(),
	)
	return root
}

func (p *program) readOutput(cmd *cobra.Command) error {
	format, err := cmd.Flags().GetString("output")
	if err != nil {
		return err
	}
	switch format {
	case "text":
	case "json":
		p.json = true
	default:
		return usage(fmt.Errorf("--output is %q; it can be text or json", format))
	}
	return nil
}

func usage(err error) error { return &exitError{code: exitUsage, err: err} }

// args checks the number of arguments and says what they are.
func args(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		if len(given) != len(names) {
			return usage(fmt.Errorf("%s takes %s %v, not %d; see %s --help", cmd.Name(), count(len(names), "argument"), names, len(given), cmd.CommandPath()))
		}
		return nil
	}
}

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: args(),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(p.out, version)
			return err
		},
	}
}
