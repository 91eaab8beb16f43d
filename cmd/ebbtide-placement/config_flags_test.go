package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/cmd/internal/settings"
)

func TestAFlagWinsOverTheEnvironmentAndThatOverTheFile(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "namespace: from-file\ninstance: from-file\nlisten: :1\nwebhook: {listen: ':2'}\nkubeconfig: from-file\nlog: {level: warn, format: text}\n")
	fromFile := func(c *Config) {
		c.Namespace, c.Instance, c.Listen, c.Webhook.Listen, c.Kubeconfig = "from-file", "from-file", ":1", ":2", "from-file"
		c.Log = settings.Log{Level: "warn", Format: "text"}
	}
	cases := map[string]struct {
		args []string
		env  environment
		want func(*Config)
	}{
		"nothing but the file": {want: fromFile},
		"the environment": {
			env:  environment{namespace: "from-env", name: "from-env"},
			want: func(c *Config) { fromFile(c); c.Namespace, c.Instance = "from-env", "from-env" },
		},
		"every flag": {
			env: environment{namespace: "from-env", name: "from-env"},
			args: []string{
				"--namespace=from-flag", "--listen=:3", "--webhook-listen=:4", "--kubeconfig=", "--log-level=debug", "--log-format=json",
			},
			want: func(c *Config) {
				c.Namespace, c.Instance, c.Listen, c.Webhook.Listen, c.Kubeconfig = "from-flag", "from-env", ":3", ":4", ""
				c.Log = settings.Log{Level: "debug", Format: "json"}
			},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			got, _, done := parse(append([]string{"--config", path}, c.args...), c.env.get, &stdout, &stderr)
			if done {
				t.Fatalf("ended: %s", stderr.String())
			}
			want := Default()
			c.want(&want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAReplicaThatNobodyNamesIsCalledAsItsHost(t *testing.T) {
	t.Parallel()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	config, _, done := parse([]string{"--namespace", "ebbtide"}, environment{}.get, &stdout, &stderr)
	if done || config.Instance != host {
		t.Errorf("instance %q, want %q; %s", config.Instance, host, stderr.String())
	}
}

func TestCheckConfigPrintsWhatIsInForceAsAFile(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "log: {level: warn}\nlifecycle: {spotLabels: [dedicated=spot]}\n")
	var stdout, stderr bytes.Buffer
	_, code, done := parse([]string{"--check-config", "--config", path}, environment{namespace: "ebbtide", name: "replica-1"}.get, &stdout, &stderr)
	if code != 0 || !done || stderr.Len() > 0 {
		t.Fatalf("exit %d, done %t, %q", code, done, stderr.String())
	}
	got, err := Load(writeFile(t, stdout.String()))
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Namespace, want.Instance, want.Log.Level, want.Lifecycle.SpotLabels = "ebbtide", "replica-1", "warn", []string{"dedicated=spot"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestHelpNamesEveryFlagAndEveryField(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	if _, code, done := parse([]string{"--help"}, environment{}.get, &stdout, &stderr); code != 0 || !done {
		t.Errorf("exit %d, done %t", code, done)
	}
	help := stdout.String()
	names := []string{"ebbtide-placement explain "}
	for _, name := range program(new(Config)).FlagNames() {
		names = append(names, "--"+name+" ")
	}
	for path := range new(Config).fields() {
		names = append(names, path[strings.LastIndex(path, ".")+1:]+":")
	}
	for _, choices := range [][]string{Modes, CertificateModes, settings.LogLevels, settings.LogFormats} {
		names = append(names, choices...)
	}
	for _, name := range names {
		if !strings.Contains(help, name) {
			t.Errorf("help does not name %q", name)
		}
	}
	if strings.Contains(help, "%!") {
		t.Errorf("help has a hole:\n%s", help)
	}
}

func TestTheFileThatHelpShowsIsTheDefault(t *testing.T) {
	t.Parallel()
	_, rest, found := strings.Cut(usageText(), "every field and its default:\n\n")
	file, _, ends := strings.Cut(rest, "\n\n")
	if !found || !ends {
		t.Fatalf("help shows no file:\n%s", usageText())
	}
	got, err := Load(writeFile(t, file))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The example is what somebody types first.
func TestTheExampleByHandIsAGoodConfiguration(t *testing.T) {
	t.Parallel()
	_, rest, found := strings.Cut(usageText(), "echo '")
	file, rest, written := strings.Cut(rest, "' > placement.yaml\n  ebbtide-placement --config placement.yaml ")
	line, _, ends := strings.Cut(rest, "\n")
	if !found || !written || !ends {
		t.Fatalf("help shows no example:\n%s", usageText())
	}
	var stdout, stderr bytes.Buffer
	args := append([]string{"--config", writeFile(t, file)}, strings.Fields(line)...)
	if _, _, done := parse(args, environment{}.get, &stdout, &stderr); done {
		t.Errorf("%q: %s", args, stderr.String())
	}
}

func TestVersionNeedsNoConfiguration(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	_, code, done := parse([]string{"--version"}, environment{}.get, &stdout, &stderr)
	if code != 0 || !done || !strings.HasPrefix(stdout.String(), "ebbtide-placement ") {
		t.Errorf("exit %d, done %t, %q", code, done, stdout.String())
	}
}
