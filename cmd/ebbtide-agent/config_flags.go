package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/ebbtide/ebbtide/cmd/internal/process"
	"github.com/ebbtide/ebbtide/cmd/internal/settings"
)

const usage = `ebbtide-agent watches for the interruption of its node, and moves the pods off it in time.

Usage:
  ebbtide-agent [flags]
  ebbtide-agent drill [flags]   let the agent that runs here act as if a notice had come; see drill --help

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
  provider         one of %[7]s
  respond          of each kind of notice one of %[8]s
  drain.handOver   one of %[9]s

docs/configuration.md says what each field is for, and docs/signals.md what is read where and what is done about it.

Exit code: 0 after a clean stop, 1 when the agent could not go on, 2 for a mistake in flags or file.
`

// parse turns the command line, the environment and the file into a Config. If done
// is true there is nothing to run: what was asked for, or what is wrong, has been
// printed, and the process should end with code.
func parse(args []string, getenv func(string) string, stdout, stderr io.Writer) (config Config, code int, done bool) {
	config = Default()
	code, done = program(&config).Parse(args, getenv, stdout, stderr)
	return config, code, done
}

// program says what sets the fields of config.
func program(config *Config) settings.Program {
	return settings.Program{
		Name: "ebbtide-agent", Version: process.Build(), Usage: usageText(),
		Config: config, Fields: config.fields(),
		Variables: []settings.Override{{Name: "NODE_NAME", Field: "nodeName", Target: &config.NodeName}},
		Flags: []settings.Override{
			{Name: "node-name", Field: "nodeName", Target: &config.NodeName},
			{Name: "kubeconfig", Field: "kubeconfig", Target: &config.Kubeconfig},
			{Name: "listen", Field: "listen", Target: &config.Listen},
			{Name: "log-level", Field: "log.level", Target: &config.Log.Level},
			{Name: "log-format", Field: "log.format", Target: &config.Log.Format},
		},
		Switches: map[string]*bool{"dry-run": &config.DryRun},
		Validate: func() error { return config.Validate() },
	}
}

func usageText() string {
	config := Default()
	return fmt.Sprintf(usage, config.Listen, strings.Join(settings.LogLevels, ", "), config.Log.Level,
		strings.Join(settings.LogFormats, " or "), config.Log.Format, settings.Indented(config.file()),
		strings.Join(Providers, ", "), strings.Join(Responses, ", "), strings.Join(HandOvers, ", "))
}
