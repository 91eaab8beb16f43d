package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAMistakeInTheQuestionIsOneLine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"nothing to explain":                 {nil, "nothing to explain is named: give -f FILE or KIND/NAME (--help has examples)"},
		"only policies":                      {[]string{"--policies", "a.yaml"}, "nothing to explain is named: give -f FILE or KIND/NAME (--help has examples)"},
		"a flag that is none":                {[]string{"--file", "a.yaml"}, "flag provided but not defined: -file"},
		"a name without kind":                {[]string{"coredns"}, `"coredns" is not KIND/NAME, such as deployment/coredns`},
		"a kind without name":                {[]string{"deploy/"}, `"deploy/" is not KIND/NAME, such as deployment/coredns`},
		"a kind without pods":                {[]string{"svc/dns"}, `"svc" is none of the kinds that have pods: pod, replicationcontroller, deployment, replicaset, statefulset, daemonset, job, cronjob`},
		"standard input, twice":              {[]string{"-f", "-", "--policies", "-"}, "standard input is named more than once, and can be read once"},
		"an object of the cluster, offline":  {[]string{"sts/web", "--offline"}, "statefulset/web is an object of the cluster, and --offline asks none"},
		"a kubeconfig, offline":              {[]string{"-f", "a", "--offline", "--kubeconfig", "k"}, "--offline asks no cluster, and --kubeconfig or --context names one"},
		"an output of one's own":             {[]string{"-f", "a", "-o", "yaml"}, `--output: "yaml" is not one of text, json`},
		"a label that can be none":           {[]string{"-f", "a", "--spot-label", "a=b=c"}, `reading --spot-label: reading spot mark "a": `},
		"a configuration that is not there":  {[]string{"-f", "a", "--config", "none.yaml"}, "none.yaml: no such file or directory"},
		"a configuration with unknown field": {[]string{"-f", "a", "--config", testdata("nodes.yaml")}, testdata("nodes.yaml") + ":2: apiVersion: unknown field"},
		"a configuration with a bad value":   {[]string{"-f", "a", "--config", testdata("mistake.yaml")}, `reading configuration "` + testdata("mistake.yaml") + `": mode: "Both" is not one of`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ask(t, "", c.args...)
			if got.code != exitMisused || got.stdout != "" || !strings.HasPrefix(got.stderr, explainName+": "+c.want) || strings.Count(got.stderr, "\n") != 1 {
				t.Errorf("exit code %d, stdout %q, stderr\n%swant a line with\n%s", got.code, got.stdout, got.stderr, c.want)
			}
		})
	}
}

func TestAFileThatCannotBeReadIsNamedWithTheDocument(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ file, want string }{
		"no YAML":                         {onePod + "---\na: [\n", "document 2: yaml: line "},
		"a key that stands twice":         {onePod + "kind: Pod\n", `document 1: yaml: unmarshal errors: line 5: key "kind" already set in map`},
		"a separator with something else": {"--- !tag\n", "document 1: invalid Yaml document separator: !tag"},
		"no object":                       {"- a\n", "document 1: it is no object with fields"},
		"no kind":                         {onePod + "---\n# nothing\n---\nmetadata: {name: x}\n", "document 3: it has no apiVersion and kind"},
		"no name":                         {"{apiVersion: v1, kind: Pod, spec: {containers: []}}", "document 1: the Pod has no name"},
		"text for a number":               {"{apiVersion: apps/v1, kind: Deployment, metadata: {name: x}, spec: {replicas: many}}", "document 1: decoding a Deployment: "},
		"a list with a bad item":          {"{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Service}, 7]}", "document 1: item 2 of its list: it is no object with fields"},
		"a policy with an unknown field": {
			strings.Replace(onePolicy, "mode:", "modus:", 1), `document 1: decoding a PlacementPolicy: unknown field "spec.modus"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ask(t, c.file, "--offline", "-f", "-")
			want := explainName + ": reading standard input: " + c.want
			if got.code != exitUndecided || got.stdout != "" || !strings.HasPrefix(got.stderr, want) || strings.Count(got.stderr, "\n") != 1 {
				t.Errorf("exit code %d, stdout %q, stderr\n%swant a line with\n%s", got.code, got.stdout, got.stderr, want)
			}
		})
	}
}

func TestWhatIsPassedOverIsSaid(t *testing.T) {
	t.Parallel()
	broken := strings.Replace(onePolicy, "match: {podSelector: {matchLabels: {app: web}}}", "match: {}", 1)
	for name, c := range map[string]struct {
		files string
		code  int
		notes []string
	}{
		"a field of a newer API": {
			onePolicy + "---\n" + strings.Replace(onePod, "containers:", "novelty: 1, containers:", 1), exitDecided,
			[]string{
				`standard input: document 2: passed over in the Pod: unknown field "spec.novelty"`,
				"no nodes are given: what the long-lived nodes can hold is not known",
			},
		},
		"a policy that takes every pod": {
			broken + "---\n" + onePod, exitDecided,
			[]string{
				`policy "web" is ignored: reading policy "web": match is empty and would take every pod of the cluster`,
				"no nodes are given: what the long-lived nodes can hold is not known",
			},
		},
		"no policy at all": {
			onePod, exitDecided,
			[]string{
				"there are no policies: pods are placed by what they ask for themselves",
				"no nodes are given: what the long-lived nodes can hold is not known",
			},
		},
		"nothing that has pods": {
			onePolicy + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: 7\n", exitUndecided,
			[]string{
				"no nodes are given: what the long-lived nodes can hold is not known",
				"passed over, since no pods of these are known: Secret/s",
				"nothing to explain was found",
			},
		},
		"nothing at all": {
			"", exitUndecided,
			[]string{
				"there are no policies: pods are placed by what they ask for themselves",
				"no nodes are given: what the long-lived nodes can hold is not known",
				"nothing to explain was found",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ask(t, c.files, "--offline", "-f", "-")
			var notes []string
			for line := range strings.Lines(got.stderr) {
				notes = append(notes, strings.TrimSuffix(strings.TrimPrefix(line, explainName+": "), "\n"))
			}
			if diff := cmp.Diff(c.notes, notes); diff != "" || got.code != c.code {
				t.Errorf("exit code %d, want %d; stderr (-want +got):\n%s", got.code, c.code, diff)
			}
		})
	}
}

func TestHelpTeachesEveryFlag(t *testing.T) {
	t.Parallel()
	got := ask(t, "", "--help")
	if got.code != exitDecided || got.stderr != "" {
		t.Fatalf("exit code %d, stderr %q", got.code, got.stderr)
	}
	for _, flag := range []string{
		"-f,", "--filename", "--policies", "-n,", "--namespace", "--offline", "--kubeconfig", "--context", "--config", "--spot-label", "-o,", "--output", "--help",
	} {
		if !strings.Contains(got.stdout, flag) {
			t.Errorf("it does not speak of %s", flag)
		}
	}
}

func TestWithoutAKubeconfigTheFilesAreAllThatIsKnown(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	lines, notes := decisions(t, onePolicy+"---\n"+onePod, "-f", "-")
	if diff := cmp.Diff([]string{"default Pod/web Required PolicyRequires web"}, lines); diff != "" {
		t.Errorf("decisions (-want +got):\n%s", diff)
	}
	if want := "no kubeconfig names a cluster: what the files say is all that is known"; len(notes) == 0 || notes[0] != want {
		t.Errorf("notes %q, want first %q", notes, want)
	}
	got := ask(t, "", "pod/web")
	if want := explainName + ": reading pod/web: no kubeconfig names a cluster: give --kubeconfig\n"; got != (reply{code: exitUndecided, stderr: want}) {
		t.Errorf("reply %+v, want %q", got, want)
	}
}

// kubeconfig returns the path of a kubeconfig for the API server at an address.
func kubeconfig(t *testing.T, address string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'http://" + address + "'}}]\n" +
		"contexts: [{name: x, context: {cluster: c, namespace: shop}}]\ncurrent-context: x\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAClusterThatDoesNotAnswerIsAnError(t *testing.T) {
	t.Parallel()
	// It takes connections, and answers none.
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent := kubeconfig(t, listener.Addr().String())
	ctx, cancel := context.WithCancelCause(t.Context())
	accepted := make(chan struct{})
	go func() {
		defer close(accepted)
		if connection, err := listener.Accept(); err == nil {
			defer func() { _ = connection.Close() }()
			cancel(errSilent) // as the deadline would, later
		}
	}()
	var stdout, stderr strings.Builder
	code := explain(ctx, []string{"--kubeconfig", silent, "-f", "-"}, strings.NewReader(onePod), &stdout, &stderr)
	_ = listener.Close() // lets go of an Accept that nobody came to
	<-accepted
	want := explainName + ": listing policies: the API server did not answer within 15s\n"
	if code != exitUndecided || stdout.Len() > 0 || stderr.String() != want {
		t.Errorf("exit code %d, stdout %q, stderr %q, want %q", code, stdout.String(), stderr.String(), want)
	}
}

func TestAClusterThatIsNotThereIsAnError(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := kubeconfig(t, listener.Addr().String())
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"nobody listens":                  {[]string{"--kubeconfig", gone}, "listing policies: "},
		"a kubeconfig that is not there":  {[]string{"--kubeconfig", gone + "2"}, "reading how to reach the cluster: "},
		"a context that the file has not": {[]string{"--kubeconfig", gone, "--context", "y"}, "reading how to reach the cluster: "},
	} {
		got := ask(t, onePod, append(c.args, "-f", "-")...)
		if got.code != exitUndecided || got.stdout != "" || !strings.HasPrefix(got.stderr, explainName+": "+c.want) || strings.Count(got.stderr, "\n") != 1 {
			t.Errorf("%s: exit code %d, stdout %q, stderr\n%swant a line with\n%s", name, got.code, got.stdout, got.stderr, c.want)
		}
	}
}
