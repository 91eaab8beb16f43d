package main

import (
	"bytes"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/ebbtide/ebbtide/agent/aws"
	"github.com/ebbtide/ebbtide/agent/gcp"
	"github.com/ebbtide/ebbtide/cmd/internal/settings"
	"github.com/ebbtide/ebbtide/cmd/internal/settings/settingstest"
)

// groups are the names that stand at the top of the file.
const groups = "advice, alibaba, aws, azure, cluster, drain, drill, gcp, kubeconfig, listen, log, nodeName, provider, respond, tencent"

const missingName = "nodeName: is missing: set --node-name, or $NODE_NAME from the field spec.nodeName of the pod"

func TestABadConfigurationIsOneLineThatNamesFieldAndPlace(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		file string
		args []string
		env  string
		want string
	}{
		"an unknown field is named with those that are known": {
			file: "drain:\n  volumeDetatch: 12s\n",
			want: "agent.yaml:2: drain.volumeDetatch: unknown field, known here: concurrency, daemonSets, handOver, volumeDetach",
		},
		"an unknown group is named once, not for each of its fields": {
			file: "ibm:\n  a: 1\n  b: 2\n",
			want: "agent.yaml:1: ibm: unknown field, known here: " + groups,
		},
		"a path is no name of a field": {
			file: "log.level: debug\n",
			want: "agent.yaml:1: log.level: unknown field, known here: " + groups,
		},
		"a bad duration is shown with a good one": {
			file: "drain:\n  volumeDetach: 1x\n",
			want: `agent.yaml:2: drain.volumeDetach: "1x" is not a duration such as 12s`,
		},
		"a duration without a unit is a bad duration": {
			file: "drain:\n  volumeDetach: 12\n",
			want: `agent.yaml:2: drain.volumeDetach: "12" is not a duration such as 12s`,
		},
		"a duration out of its bounds names them": {
			file: "aws:\n  pollInterval: 10s\n",
			want: "agent.yaml:2: aws.pollInterval: 10s is not between 1s and 5s",
		},
		"a negative duration is out of bounds": {
			file: "drain: {volumeDetach: -1s}\n",
			want: "agent.yaml:1: drain.volumeDetach: -1s is not between 0s and 1m0s",
		},
		"a word is no number":      {file: "drain: {concurrency: many}", want: `agent.yaml:1: drain.concurrency: "many" is not a whole number`},
		"a fraction is no count":   {file: "drain: {concurrency: 1.5}", want: `agent.yaml:1: drain.concurrency: "1.5" is not a whole number`},
		"zero at a time is none":   {file: "drain: {concurrency: 0}", want: "agent.yaml:1: drain.concurrency: 0 is not between 1 and 100"},
		"a number beyond an int":   {file: "drain: {concurrency: 99999999999999999999}", want: `agent.yaml:1: drain.concurrency: "99999999999999999999" is not a whole number`},
		"a word is no truth value": {file: "aws: {allowIMDSv1: maybe}", want: `agent.yaml:1: aws.allowIMDSv1: "maybe" is not true or false`},
		"a number is no text":      {file: "listen: 9808", want: "agent.yaml:1: listen: 9808 is not text: put it in quotes"},
		"a list is no value":       {file: "listen:\n- :9808\n", want: "agent.yaml:2: listen: is a list or a group where one value belongs"},
		"a value is no group":      {file: "log: debug", want: "agent.yaml:1: log: here stand fields with values: format, level"},
		"a list is no file":        {file: "- nodeName", want: "agent.yaml:1: here stand fields with values: " + groups},
		"a field without a value":  {file: "listen:\n", want: "agent.yaml:1: listen: has no value: leave the field out to keep its default"},
		"a field that stands twice": {
			file: "log:\n  level: info\n  level: debug\n",
			want: "agent.yaml:3: log.level: is given twice, first in line 2",
		},
		"a group that stands twice": {
			file: "log: {level: debug}\ndrain: {}\nlog: {format: text}\n",
			want: "agent.yaml:3: log: is given twice, first in line 1",
		},
		"a second document": {
			file: "listen: :1\n---\nlisten: :2\n",
			want: "agent.yaml:2: a second document begins here: the file may hold one",
		},
		"a file that is not YAML": {
			file: "listen: :1\nlog: [\n",
			want: "agent.yaml:2: is not YAML: did not find expected node content",
		},
		"a key of several lines stays on one": {
			file: "\"a\\nb\": 1\n",
			want: `agent.yaml:1: "a\nb": unknown field, known here: ` + groups,
		},
		"a cloud without notices":         {file: "provider: ibm", want: `agent.yaml:1: provider: "ibm" is not one of auto, aws, gcp, azure, alibaba, tencent, none`},
		"a socket that could be anywhere": {file: "drill: {socket: drill.sock}", want: `agent.yaml:1: drill.socket: "drill.sock" is not the whole path of a file`},
		"a socket that no kernel takes": {
			file: "drill: {socket: /" + strings.Repeat("a", 90) + "}",
			want: `agent.yaml:1: drill.socket: "/` + strings.Repeat("a", 90) + `" is longer than 85 bytes`,
		},
		"a log level of one's own": {file: "log: {level: loud}", want: `agent.yaml:1: log.level: "loud" is not one of debug, info, warn, error`},
		"an endpoint that is no address": {
			file: "aws: {endpoint: 127.0.0.1}",
			want: "agent.yaml:1: aws.endpoint: " + aws.CheckEndpoint("127.0.0.1").Error(),
		},
		"an endpoint of a cloud that the node is not in": {
			file: "provider: aws\ngcp: {endpoint: https://127.0.0.1}",
			want: "agent.yaml:2: gcp.endpoint: " + gcp.CheckEndpoint("https://127.0.0.1").Error(),
		},
		"a response that there is not": {
			file: "respond: {freeze: Ignore}",
			want: `agent.yaml:1: respond.freeze: "Ignore" is not one of DrainNow, DrainBefore, HandOver, CordonSoftly, ReportOnly`,
		},
		"no time to drain in": {file: "respond: {lead: 0s}", want: "agent.yaml:1: respond.lead: 0s is not between 1m0s and 12h0m0s"},
		"a priority that no pod can have": {
			file: "advice: {priority: 3000000000}",
			want: "agent.yaml:1: advice.priority: 3000000000 is not between 0 and 2147483647",
		},
		"an endpoint with a path": {
			file: "aws: {endpoint: 'http://127.0.0.1/latest'}",
			want: "agent.yaml:1: aws.endpoint: " + aws.CheckEndpoint("http://127.0.0.1/latest").Error(),
		},
		"an address to listen on without port": {file: "listen: localhost", want: `agent.yaml:1: listen: "localhost" is not an address to listen on, such as :9808 or 127.0.0.1:9808`},
		"a port that is a name":                {file: "listen: ':http'", want: `agent.yaml:1: listen: ":http" is not an address to listen on, such as :9808 or 127.0.0.1:9808`},
		"a node name that no node can have": {
			file: "nodeName: Worker_1",
			env:  "unset",
			want: `agent.yaml:1: nodeName: "Worker_1" is not a node name: lower-case letters, digits, '-' and '.'`,
		},
		"a node name of the wrong type is not missing as well": {
			file: "nodeName: 7",
			env:  "unset",
			want: "agent.yaml:1: nodeName: 7 is not text: put it in quotes",
		},
		"a node name that is missing":        {env: "unset", want: missingName},
		"a node name from the environment":   {env: "A", want: `$NODE_NAME: nodeName: "A" is not a node name: lower-case letters, digits, '-' and '.'`},
		"a bad flag is named as it is typed": {args: []string{"--log-level=loud"}, want: `--log-level: log.level: "loud" is not one of debug, info, warn, error`},
		"a flag wins over a bad file": {
			file: "log: {level: loud}",
			args: []string{"--log-level", "info", "--log-format", "xml"},
			want: `--log-format: log.format: "xml" is not one of json, text`,
		},
		"a flag that names no file":   {args: []string{"--config="}, want: "--config: names no file"},
		"an argument that is no flag": {args: []string{"check"}, want: `"check" is not a flag, and nothing after it was read`},
		"all mistakes come at once": {
			file: "drian: {}\ndrain:\n  concurrency: 0\n  volumeDetach: soon\naws:\n  pollInterval: 1m\n",
			args: []string{"--listen", "here"},
			env:  "unset",
			want: "agent.yaml:1: drian: unknown field, known here: " + groups + "; " +
				`agent.yaml:4: drain.volumeDetach: "soon" is not a duration such as 12s; ` +
				missingName + "; " +
				"agent.yaml:6: aws.pollInterval: 1m0s is not between 1s and 5s; " +
				"agent.yaml:3: drain.concurrency: 0 is not between 1 and 100; " +
				`--listen: listen: "here" is not an address to listen on, such as :9808 or 127.0.0.1:9808`,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := writeFile(t, c.file)
			args := append([]string{"--check-config", "--config", path}, c.args...)
			var stdout, stderr bytes.Buffer
			_, code, done := parse(args, nodeNameIs(c.env), &stdout, &stderr)
			if code != 2 || !done {
				t.Errorf("exit %d, done %t; want exit 2", code, done)
			}
			got := strings.ReplaceAll(stderr.String(), path, "agent.yaml")
			if diff := cmp.Diff("ebbtide-agent: "+c.want+"\n", got); diff != "" {
				t.Errorf("on stderr (-want +got):\n%s", diff)
			}
			if stdout.Len() > 0 {
				t.Errorf("on stdout: %q", stdout.String())
			}
		})
	}
}

func TestAFileThatIsNotThereIsAMistake(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "agent.yaml")
	var stdout, stderr bytes.Buffer
	_, code, done := parse([]string{"--config", path}, nodeNameIs("worker-1"), &stdout, &stderr)
	if want := "ebbtide-agent: " + path + ": no such file or directory\n"; code != 2 || !done || stderr.String() != want {
		t.Errorf("exit %d, %q; want exit 2, %q", code, stderr.String(), want)
	}
}

func TestAFileWithNothingInItIsTheDefault(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"empty":                            "",
		"comments only":                    "# listen: :1\n",
		"a document mark only":             "---\n",
		"groups whose fields are comments": "aws:\n  # endpoint: x\nlog:\n",
		"a null":                           "~\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := decode("agent.yaml", []byte(content))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(Default(), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// full has another value than the default in every field.
var full = Config{
	NodeName: "worker-1",
	Provider: "other",
	AWS:      AWS{Endpoint: "http://127.0.0.1:1338", AllowIMDSv1: true, PollInterval: 2 * time.Second, LifecycleNotice: time.Hour},
	GCP:      GCP{Endpoint: "http://127.0.0.1:1339"},
	Azure:    Azure{Endpoint: "http://127.0.0.1:1340", Acknowledge: true},
	Alibaba:  Alibaba{Endpoint: "http://127.0.0.1:1341"},
	Tencent:  Tencent{Endpoint: "http://127.0.0.1:1342"},
	Cluster:  Cluster{Enabled: true},
	Respond: Respond{
		SpotInterruption: "a", RebalanceAdvice: "b", Maintenance: "c", Migration: "d", Freeze: "e", ScaleIn: "f",
		NodeShutdown: "g", ClusterDisruption: "h", ShortFreeze: time.Second, Lead: 2 * time.Second, TTL: 3 * time.Second,
	},
	Advice:     Advice{Priority: 1},
	Drain:      Drain{DaemonSets: true, VolumeDetach: 0, Concurrency: 3},
	Drill:      Drill{Socket: "/run/other.sock"},
	Listen:     "127.0.0.1:0",
	Log:        settings.Log{Level: "debug", Format: "text"},
	Kubeconfig: "/etc/kubeconfig",
}

func TestEveryFieldOfConfigCanBeSetInTheFileAndNoOther(t *testing.T) {
	t.Parallel()
	got, err := decode("agent.yaml", []byte(full.file()))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(full, got); diff != "" {
		t.Errorf("a written configuration reads back as another (-want +got):\n%s", diff)
	}
	var tree map[string]any
	if err := yaml.Unmarshal([]byte(full.file()), &tree); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(settingstest.Leaves("", tree), slices.Sorted(maps.Keys(new(Config).fields()))); diff != "" {
		t.Errorf("fields of Config and of its reader (-Config +reader):\n%s", diff)
	}
}

func TestAFlagWinsOverTheEnvironmentAndThatOverTheFile(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "nodeName: from-file\nlisten: :1\nkubeconfig: from-file\nlog: {level: warn, format: text}\n")
	cases := map[string]struct {
		args []string
		env  string
		want func(*Config)
	}{
		"nothing but the file": {env: "unset", want: func(c *Config) {
			c.NodeName, c.Listen, c.Kubeconfig, c.Log = "from-file", ":1", "from-file", settings.Log{Level: "warn", Format: "text"}
		}},
		"the environment": {env: "from-env", want: func(c *Config) {
			c.NodeName, c.Listen, c.Kubeconfig, c.Log = "from-env", ":1", "from-file", settings.Log{Level: "warn", Format: "text"}
		}},
		"every flag": {
			env:  "from-env",
			args: []string{"--node-name=from-flag", "--listen=:2", "--kubeconfig=", "--log-level=debug", "--log-format=json", "--dry-run"},
			want: func(c *Config) {
				c.NodeName, c.Listen, c.Kubeconfig, c.Log, c.DryRun = "from-flag", ":2", "", settings.Log{Level: "debug", Format: "json"}, true
			},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			got, _, done := parse(append([]string{"--config", path}, c.args...), nodeNameIs(c.env), &stdout, &stderr)
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

func TestCheckConfigPrintsWhatIsInForceAsAFile(t *testing.T) {
	t.Parallel()
	path := writeFile(t, "log: {level: warn}\n")
	var stdout, stderr bytes.Buffer
	_, code, done := parse([]string{"--check-config", "--config", path}, nodeNameIs("worker-1"), &stdout, &stderr)
	if code != 0 || !done || stderr.Len() > 0 {
		t.Fatalf("exit %d, done %t, %q", code, done, stderr.String())
	}
	got, err := decode("stdout", stdout.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.NodeName, want.Log.Level = "worker-1", "warn"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestHelpNamesEveryFlagAndEveryField(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	if _, code, done := parse([]string{"--help"}, nodeNameIs("unset"), &stdout, &stderr); code != 0 || !done {
		t.Errorf("exit %d, done %t", code, done)
	}
	var names []string
	for _, name := range program(new(Config)).FlagNames() {
		names = append(names, "--"+name+" ")
	}
	for path := range new(Config).fields() {
		names = append(names, path[strings.LastIndex(path, ".")+1:]+":")
	}
	names = append(names, strings.Join(Providers, ", "), strings.Join(Responses, ", "))
	for _, name := range names {
		if !strings.Contains(stdout.String(), name) {
			t.Errorf("help does not name %q", name)
		}
	}
	if strings.Contains(stdout.String(), "%!") {
		t.Errorf("help has a hole:\n%s", stdout.String())
	}
}

func TestVersionNeedsNoConfiguration(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	_, code, done := parse([]string{"--version", "--log-level=loud"}, nodeNameIs("unset"), &stdout, &stderr)
	if code != 0 || !done || !strings.HasPrefix(stdout.String(), "ebbtide-agent ") {
		t.Errorf("exit %d, done %t, %q", code, done, stdout.String())
	}
}

func TestAnUnknownFlagEndsWithExitTwoAndOneLine(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	_, code, done := parse([]string{"--lisen=:1"}, nodeNameIs("worker-1"), &stdout, &stderr)
	if code != 2 || !done || strings.Count(stderr.String(), "\n") != 1 || !strings.Contains(stderr.String(), "-lisen") {
		t.Errorf("exit %d, done %t, %q", code, done, stderr.String())
	}
}

func FuzzDecodeEndsInAConfigurationOrInMistakesOnOneLine(f *testing.F) {
	f.Add([]byte(full.file()))
	f.Add([]byte("a: &x [*x]\n"))
	f.Add([]byte("log: &x {level: *x}\n"))
	f.Add([]byte("aws: &a {endpoint: x}\ndrain: *a\n"))
	f.Add([]byte("? {a: b}\n: c\n---\n"))
	f.Add([]byte("listen: !!binary aGk=\nnodeName: 2001-01-01\n<<: {listen: x}\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		config, err := decode("agent.yaml", content)
		var mistakes settings.Errors
		if err != nil && (!errors.As(err, &mistakes) || len(mistakes) == 0 || strings.ContainsAny(err.Error(), "\r\n")) {
			t.Fatalf("not settings.Errors on one line: %q", err)
		}
		if err != nil || config.Validate() != nil {
			return
		}
		again, err := decode("again.yaml", []byte(config.file()))
		if err != nil {
			t.Fatalf("reading back %q: %v", config.file(), err)
		}
		if diff := cmp.Diff(config, again); diff != "" {
			t.Errorf("(-first +again):\n%s", diff)
		}
	})
}

// decode reads content over the default.
func decode(name string, content []byte) (Config, error) {
	config := Default()
	_, err := settings.Decode(name, content, config.fields())
	return config, err
}

// nodeNameIs is an environment: "" stands for a usual node name, "unset" for none.
func nodeNameIs(name string) func(string) string {
	return func(key string) string {
		switch {
		case key != "NODE_NAME" || name == "unset":
			return ""
		case name == "":
			return "worker-1"
		default:
			return name
		}
	}
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	return settingstest.Write(t, "agent.yaml", content)
}
