package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
)

const usage = `ebbtide-agent watches for the interruption of its node, and moves the pods off it in time.

Usage:
  ebbtide-agent [flags]

One agent runs on each node. In a cluster a DaemonSet gives it its node name and its service account:

  env:
    - name: NODE_NAME
      valueFrom: {fieldRef: {fieldPath: spec.nodeName}}

By hand, against any cluster and without touching it:

  ebbtide-agent --node-name worker-1 --kubeconfig ~/.kube/config --dry-run --log-format text

Flags (each wins over the file):
  --config FILE        a YAML file; without one every field has its default
  --node-name NAME     the node to look after (default: $NODE_NAME, which wins over the file too)
  --kubeconfig FILE    how to reach the API server (default: the pod's service account)
  --listen ADDRESS     where to serve /metrics, /healthz and /readyz (default %[1]s)
  --log-level LEVEL    %[2]s (default %[3]s)
  --log-format FORMAT  %[4]s (default %[5]s)
  --check-config       say everything that is wrong with flags and file, or print what is in force, and end
  --dry-run            say what would be done, and do nothing
  --version            print the version, and end
  --help               print this page, and end

The file, with every field and its default:

%[6]s
Exit code: 0 after a clean stop, 1 when the agent could not go on, 2 for a mistake in flags or file.
`

// exitUsage is the exit code for a mistake of the caller's, as in flag and cobra.
const exitUsage = 2

// options are the flags that are no field of the file.
type options struct {
	config  string
	check   bool
	version bool
}

// parse turns the command line, the environment and the file into a Config. If done
// is true there is nothing to run: what was asked for, or what is wrong, has been
// printed, and the process should end with code.
func parse(args []string, getenv func(string) string, stdout, stderr io.Writer) (config Config, code int, done bool) {
	var opts options
	set, flags := newFlagSet(&opts)
	if err := set.Parse(args); errors.Is(err, flag.ErrHelp) {
		return Config{}, printUsage(stdout), true
	} else if err != nil {
		return Config{}, complain(stderr, err), true
	}
	if opts.version {
		say(stdout, "ebbtide-agent %s (%s, %s/%s)\n", currentVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return Config{}, 0, true
	}

	config, mistakes := settle(set, flags, opts, getenv)
	if len(mistakes) > 0 {
		return Config{}, complain(stderr, mistakes), true
	}
	if opts.check {
		say(stdout, "%s", config.file())
		return Config{}, 0, true
	}
	return config, 0, false
}

// newFlagSet returns the flags, and a Config that they write to.
func newFlagSet(opts *options) (*flag.FlagSet, *Config) {
	set := flag.NewFlagSet("ebbtide-agent", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	config := Default()
	set.StringVar(&opts.config, "config", "", "")
	set.BoolVar(&opts.check, "check-config", false, "")
	set.BoolVar(&opts.version, "version", false, "")
	set.BoolVar(&config.DryRun, "dry-run", false, "")
	set.StringVar(&config.NodeName, "node-name", "", "")
	set.StringVar(&config.Kubeconfig, "kubeconfig", "", "")
	set.StringVar(&config.Listen, "listen", "", "")
	set.StringVar(&config.Log.Level, "log-level", "", "")
	set.StringVar(&config.Log.Format, "log-format", "", "")
	return set, &config
}

// settle puts the environment over the file and the flags over both, and returns
// everything that is wrong with the result.
func settle(set *flag.FlagSet, flags *Config, opts options, getenv func(string) string) (Config, ConfigErrors) {
	var mistakes ConfigErrors
	given := map[string]bool{}
	set.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if set.NArg() > 0 {
		mistakes = append(mistakes, Mistake{Problem: fmt.Sprintf("%q is not a flag, and nothing after it was read", set.Arg(0))})
	}

	config := Default()
	switch {
	case given["config"] && opts.config == "":
		mistakes = append(mistakes, Mistake{Place: "--config", Problem: "names no file"})
	case given["config"]:
		var err error
		config, err = Load(opts.config)
		mistakes = append(mistakes, found(err)...)
	}
	if name := getenv("NODE_NAME"); name != "" {
		config.NodeName, config.places = name, config.places.with("nodeName", "$NODE_NAME")
	}
	for _, over := range []struct {
		flag, field   string
		target, value *string
	}{
		{"node-name", "nodeName", &config.NodeName, &flags.NodeName},
		{"kubeconfig", "kubeconfig", &config.Kubeconfig, &flags.Kubeconfig},
		{"listen", "listen", &config.Listen, &flags.Listen},
		{"log-level", "log.level", &config.Log.Level, &flags.Log.Level},
		{"log-format", "log.format", &config.Log.Format, &flags.Log.Format},
	} {
		if given[over.flag] {
			*over.target = *over.value
			config.places = config.places.with(over.field, "--"+over.flag)
		}
	}
	config.DryRun = flags.DryRun
	for _, mistake := range found(config.Validate()) {
		if !mistakes.about(mistake.Field) {
			mistakes = append(mistakes, mistake)
		}
	}
	return config, mistakes
}

// found returns the mistakes in err, which Load and Validate promise to be ConfigErrors.
func found(err error) ConfigErrors {
	var mistakes ConfigErrors
	if err != nil && !errors.As(err, &mistakes) {
		return ConfigErrors{{Problem: err.Error()}}
	}
	return mistakes
}

// complain says err on one line and returns the exit code for it.
func complain(stderr io.Writer, err error) int {
	say(stderr, "ebbtide-agent: %s\n", err)
	return exitUsage
}

func printUsage(stdout io.Writer) int {
	config := Default()
	file := "  " + strings.ReplaceAll(strings.TrimSpace(config.file()), "\n", "\n  ") + "\n"
	say(stdout, usage, config.Listen, strings.Join(LogLevels, ", "), config.Log.Level,
		strings.Join(LogFormats, " or "), config.Log.Format, file)
	return 0
}

// say writes to a terminal or a pipe. If nobody reads it any more, there is nobody
// left to tell.
func say(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format, args...)
}

// version is set by the linker (see the Makefile).
var version string

// currentVersion returns the linker's version, or else what the go command recorded:
// a version for `go install ...@v1.2.3`, "(devel)" for a plain build.
func currentVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
