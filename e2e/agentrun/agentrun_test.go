package agentrun

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"github.com/ebbtide/ebbtide/e2e/internal/programrun"
)

// standIn is a program with the agent's surface, so that these tests need no cluster.
const standIn = "github.com/ebbtide/ebbtide/e2e/internal/programrun/testdata/fakeprogram"

func TestMain(m *testing.M) { goleak.VerifyTestMain(Suite(m)) }

func optionsFor(t *testing.T) Options {
	t.Helper()
	return Options{
		Binary: programrun.Binary(t, standIn, Race), Node: "spot-1", Kubeconfig: "/lab/kubeconfig",
		Endpoint: "http://127.0.0.1:1338", Dir: t.TempDir(),
	}
}

func TestAnAgentIsStartedOnlyWithAFakeMetadataServiceOnLoopback(t *testing.T) {
	t.Parallel()
	linkLocal := strings.Join([]string{"169", "254", "169", "254"}, ".")
	cases := map[string]func(*Options){
		"no endpoint":                          func(o *Options) { o.Endpoint = "" },
		"the link-local address of clouds":     func(o *Options) { o.Endpoint = "http://" + linkLocal },
		"the same, mapped into IPv6":           func(o *Options) { o.Endpoint = "http://[::ffff:" + linkLocal + "]" },
		"a name that a resolver could turn":    func(o *Options) { o.Endpoint = "http://localhost:1338" },
		"loopback as user of another host":     func(o *Options) { o.Endpoint = "http://127.0.0.1@192.0.2.1" },
		"an address of the local network":      func(o *Options) { o.Endpoint = "http://192.0.2.1" },
		"all addresses":                        func(o *Options) { o.Endpoint = "http://0.0.0.0:1338" },
		"another scheme":                       func(o *Options) { o.Endpoint = "https://127.0.0.1:1338" },
		"an endpoint in the laid-over file":    func(o *Options) { o.Config = map[string]any{"aws": map[string]any{"endpoint": "http://192.0.2.1"}} },
		"an endpoint of another cloud":         func(o *Options) { o.Config = map[string]any{"gcp": map[string]any{"endpoint": "http://192.0.2.1"}} },
		"another cloud in the laid-over file":  func(o *Options) { o.Config = map[string]any{"provider": "gcp"} },
		"a laid-over group that is no group":   func(o *Options) { o.Config = map[string]any{"aws": "x"} },
		"another file":                         func(o *Options) { o.Args = []string{"--config=/etc/agent.yaml"} },
		"another file, as two arguments":       func(o *Options) { o.Args = []string{"-config", "/etc/agent.yaml"} },
		"no node":                              func(o *Options) { o.Node = "" },
		"no kubeconfig, which means a cluster": func(o *Options) { o.Kubeconfig = "" },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := optionsFor(t)
			change(&options)
			if a, err := Start(t.Context(), options); err == nil {
				t.Errorf("started; %v", a.Kill())
			}
		})
	}
}

func TestAnAgentGetsItsFileAndFlagsAndNothingOfTheEnvironment(t *testing.T) {
	t.Parallel()
	options := optionsFor(t)
	options.Config = map[string]any{"aws": map[string]any{"pollInterval": "500ms"}, "drain": map[string]any{"concurrency": 3}}
	a := New(t, options)
	started, err := a.WaitLog(t.Context(), "Started")
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := yaml.Unmarshal([]byte(started.Text("config")), &config); err != nil {
		t.Fatal(err)
	}
	fake := map[string]any{"endpoint": options.Endpoint}
	want := map[string]any{
		"provider": "aws",
		"aws":      map[string]any{"endpoint": options.Endpoint, "pollInterval": "500ms"},
		"gcp":      fake, "azure": fake, "alibaba": fake, "tencent": fake,
		"drain": map[string]any{"concurrency": 3},
	}
	if diff := cmp.Diff(want, config); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	if got := started.Text("node") + " " + started.Text("kubeconfig"); got != "spot-1 /lab/kubeconfig" {
		t.Errorf("flags: %q", got)
	}
	if got, want := started.Text("environment"), "HOME="+options.Dir+" TMPDIR="+options.Dir; got != want {
		t.Errorf("environment %q, want %q", got, want)
	}
}
