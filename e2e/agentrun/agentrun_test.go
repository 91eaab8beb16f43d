package agentrun

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"
)

// standIn is a program with the agent's surface, so that these tests need no cluster.
var standIn string

const standInPackage = "github.com/ebbtide/ebbtide/e2e/agentrun/testdata/fakeagent"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == asStarter {
		startAndWait()
	}
	goleak.VerifyTestMain(withStandIn{m})
}

// asStarter makes this test binary start an agent and wait to be killed.
const asStarter = "agentrun-starter"

func startAndWait() {
	a, err := Start(context.Background(), Options{
		Binary: os.Getenv("STAND_IN"), Node: "spot-1", Kubeconfig: "/lab/kubeconfig", //nolint:forbidigo // The starter is a program of its own.
		Endpoint: "http://127.0.0.1:1338", Dir: os.Getenv("DIR"), //nolint:forbidigo // As above.
	})
	if err != nil {
		panic(err)
	}
	_, _ = fmt.Fprintln(os.Stdout, a.PID())
	select {}
}

type withStandIn struct{ tests *testing.M }

func (s withStandIn) Run() int {
	dir, err := os.MkdirTemp("", "ebbtide-agentrun-test-*")
	if err != nil {
		panic(err)
	}
	if standIn, err = build(context.Background(), dir, standInPackage, Race); err != nil {
		panic(err)
	}
	code := s.tests.Run()
	if err := os.RemoveAll(dir); err != nil {
		panic(err)
	}
	return code
}

func optionsFor(t *testing.T) Options {
	t.Helper()
	return Options{Binary: standIn, Node: "spot-1", Kubeconfig: "/lab/kubeconfig", Endpoint: "http://127.0.0.1:1338", Dir: t.TempDir()}
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
	want := map[string]any{
		"aws":   map[string]any{"endpoint": options.Endpoint, "pollInterval": "500ms"},
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

func TestALogIsReadFromItsBeginningAndToItsEnd(t *testing.T) {
	t.Parallel()
	a := New(t, optionsFor(t))
	if _, err := a.WaitLog(t.Context(), "Started"); err != nil {
		t.Fatal(err)
	}
	if err := a.Terminate(); err != nil {
		t.Fatal(err)
	}
	var messages []string
	for record := range a.Log(t.Context()) {
		messages = append(messages, record.Message)
	}
	if want := []string{"Listening", "Started", "Stopped"}; !slices.Equal(messages, want) {
		t.Errorf("read %q, want %q", messages, want)
	}
	if !strings.Contains(a.Output(), "a line that is no record\n") {
		t.Errorf("the output lacks a line: %q", a.Output())
	}
	records := a.Records()
	var count int
	if err := records[1].Decode("count", &count); err != nil || count != 7 {
		t.Errorf("count is %d, %v; want 7", count, err)
	}
	if err := records[1].Decode("nothing", &count); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a key that is not there: %v", err)
	}
	if code, err := a.Wait(t.Context()); err != nil || code != 4 {
		t.Errorf("exit code %d, %v; want 4", code, err)
	}
}

func TestWaitingForALineThatCannotComeEndsWithTheAgent(t *testing.T) {
	t.Parallel()
	a := New(t, optionsFor(t))
	waited := make(chan error)
	go func() {
		_, err := a.WaitLog(t.Context(), "Never")
		waited <- err
	}()
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; !errors.Is(err, errEnded) {
		t.Errorf("waiting ended with %v", err)
	}
	if code, err := a.Wait(t.Context()); err != nil || code != -1 {
		t.Errorf("exit code %d, %v; want -1 for a signal", code, err)
	}
	if err := a.Kill(); err != nil {
		t.Errorf("killing what is gone: %v", err)
	}
}

func TestAnAgentThatEndsBeforeItListensSaysWhy(t *testing.T) {
	t.Parallel()
	options := optionsFor(t)
	options.Args = []string{"--fail"}
	_, err := Start(t.Context(), options)
	if !errors.Is(err, errEnded) || !strings.Contains(err.Error(), "nothing works today") {
		t.Errorf("starting ended with %v", err)
	}
}

func TestReadinessIsWaitedForAndMetricsAreRead(t *testing.T) {
	t.Parallel()
	a := New(t, optionsFor(t))
	if err := a.WaitReadyz(t.Context(), func(code int, body string) bool {
		return code == http.StatusServiceUnavailable && body == "blind"
	}); err != nil {
		t.Fatal(err)
	}
	if err := a.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	metrics, err := a.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]float64{`pods_total{kind="x", path="Lost"}`: 2, "up": 1}, metrics); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

func TestWaitingForReadinessEndsWithItsContext(t *testing.T) {
	t.Parallel()
	a := New(t, optionsFor(t))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := a.WaitReadyz(ctx, func(int, string) bool { return false }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting ended with %v", err)
	}
}

func TestAConfigurationIsCheckedWithoutAnAgent(t *testing.T) {
	t.Parallel()
	got, err := Check(t.Context(), standIn, []string{"A=b"}, "--node-name=spot-1")
	if err != nil {
		t.Fatal(err)
	}
	want := Checked{ExitCode: 2, Stdout: "node spot-1 environment [A=b]\n", Stderr: "no good\n"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, err := Check(t.Context(), standIn, nil, "--check-config=false"); err == nil {
		t.Errorf("an agent was started instead: %+v", got)
	}
	if got, err := Check(t.Context(), "/no/such/program", nil); err == nil {
		t.Errorf("a program that is not there ended with %+v", got)
	}
}
