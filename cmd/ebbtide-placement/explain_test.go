package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbtide/ebbtide/placement"
)

// reply is what explain comes to.
type reply struct {
	code           int
	stdout, stderr string
}

// ask asks explain, with stdin to be read by "-f -".
func ask(t *testing.T, stdin string, args ...string) reply {
	t.Helper()
	var stdout, stderr strings.Builder
	code := explain(t.Context(), args, strings.NewReader(stdin), &stdout, &stderr)
	return reply{code, stdout.String(), stderr.String()}
}

// decisions asks for JSON, and returns a line for each explanation and the notes.
func decisions(t *testing.T, stdin string, args ...string) (lines, notes []string) {
	t.Helper()
	got := ask(t, stdin, append(args, "-o", "json")...)
	if got.code != exitDecided {
		t.Fatalf("exit code %d: %s", got.code, got.stderr)
	}
	var read answers
	if err := json.Unmarshal([]byte(got.stdout), &read); err != nil {
		t.Fatalf("reading the answer: %v\n%s", err, got.stdout)
	}
	for _, e := range read.Explanations {
		what := e.Object
		if what == "" {
			what = "Pod/" + e.Pod
		}
		lines = append(lines, strings.Join([]string{e.Namespace, what, string(e.Outcome), string(e.Reason), e.Policy}, " "))
	}
	return lines, read.Notes
}

func testdata(name string) string { return filepath.Join("testdata", "explain", name) }

const guide = "../../docs/placement.md"

// guideFiles returns a folder with the files that the guide speaks of: those of the
// testdata, and policies.yaml with the guide's own policies.
func guideFiles(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(testdata(""))); err != nil {
		t.Fatal(err)
	}
	var policies []string
	for i, block := range strings.Split(readGuide(t), "```yaml\n") {
		if i > 0 {
			policy, _, _ := strings.Cut(block, "```")
			policies = append(policies, policy)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "policies.yaml"), []byte(strings.Join(policies, "---\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func readGuide(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The guide shows what somebody sees who types its command; "[...]" stands for lines
// that it leaves out.
func TestTheGuideShowsWhatExplainSays(t *testing.T) {
	t.Parallel()
	dir := guideFiles(t)
	const prompt = "$ ebbtide-placement explain "
	_, rest, found := strings.Cut(readGuide(t), "```console\n"+prompt)
	if !found {
		t.Fatalf("%s shows no command that begins with %q", guide, prompt)
	}
	command, rest, _ := strings.Cut(rest, "\n")
	want, _, _ := strings.Cut(rest, "```")
	args := strings.Fields(command)
	for i, arg := range args {
		if strings.HasSuffix(arg, ".yaml") {
			args[i] = filepath.Join(dir, arg)
		}
	}
	got := ask(t, "", args...)
	left := got.stderr + got.stdout
	for i, part := range strings.Split(want, "[...]\n") {
		before, behind, found := strings.Cut(left, part)
		if !found || i == 0 && before != "" {
			t.Errorf("explain does not say\n%s\nbut\n%s", part, left)
			return
		}
		left = behind
	}
	if left != "" {
		t.Errorf("explain goes on with\n%s", left)
	}
}

func TestAManifestIsDecidedAboutByWhatTheFilesSay(t *testing.T) {
	t.Parallel()
	dir := guideFiles(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	for name, c := range map[string]struct {
		args, lines, notes []string
	}{
		"CoreDNS, beside long-lived nodes": {
			[]string{"--policies", in("nodes.yaml"), "-f", in("coredns.yaml")},
			[]string{"kube-system Deployment/coredns Required EnoughLongLivedNodes dns"},
			[]string{"no pods are given: the nodes are taken to be empty", "passed over, since no pods of these are known: Service/kube-dns"},
		},
		"CoreDNS, where one of the two is full": {
			[]string{"--policies", in("nodes.yaml"), "--policies", in("full.yaml"), "-f", in("coredns.yaml")},
			[]string{"kube-system Deployment/coredns Preferred TooFewLongLivedNodes dns"},
			[]string{"passed over, since no pods of these are known: Service/kube-dns"},
		},
		"CoreDNS, where the nodes are of a kind that the user calls spot": {
			[]string{"--policies", in("nodes.yaml"), "--spot-label", "kubernetes.io/os=linux", "-f", in("coredns.yaml")},
			[]string{"kube-system Deployment/coredns Preferred TooFewLongLivedNodes dns"},
			[]string{"no pods are given: the nodes are taken to be empty", "passed over, since no pods of these are known: Service/kube-dns"},
		},
		"CoreDNS, where the program's configuration knows one kind of spot": {
			[]string{"--policies", in("nodes.yaml"), "--config", in("config.yaml"), "--spot-label", "b", "-f", in("coredns.yaml")},
			[]string{"kube-system Deployment/coredns Required EnoughLongLivedNodes dns"},
			[]string{"no pods are given: the nodes are taken to be empty", "passed over, since no pods of these are known: Service/kube-dns"},
		},
		"CoreDNS, where nothing is known of the nodes": {
			[]string{"-f", in("coredns.yaml")},
			[]string{"kube-system Deployment/coredns Preferred CapacityUnknown dns"},
			[]string{
				"no nodes are given: what the long-lived nodes can hold is not known",
				"passed over, since no pods of these are known: Service/kube-dns",
			},
		},
		"CoreDNS, where an admission policy places the pods": {
			[]string{"--policies", in("nodes.yaml"), "--config", in("admission.yaml"), "-f", in("coredns.yaml"), "-f", in("odd.yaml")},
			[]string{
				"kube-system Deployment/coredns Preferred PolicyPrefers system-critical",
				"default Deployment/asks-for-spot Unchanged NoPolicy ", "default ReplicaSet/opted-out Unchanged OptedOut ",
				"default Pod/bound Unchanged BoundPod ", "default Pod/running Unchanged NoPolicy ",
				"default Pod/asks-itself-* Unchanged NoPolicy ",
			},
			[]string{
				`policy "dns" is not rendered: ` + refusal, `policy "ingress-nginx" is not rendered: ` + refusal,
				`policy "istio-ingress" is not rendered: ` + refusal, `policy "gateway-api" is not rendered: ` + refusal,
				"passed over, since no pods of these are known: Service/kube-dns, Rollout/edge",
			},
		},
		"ingress-nginx with its Job, and as a DaemonSet": {
			[]string{"--policies", in("nodes.yaml"), "--policies", in("full.yaml"), "-f", in("ingress-nginx.yaml")},
			[]string{
				"ingress-nginx Deployment/ingress-nginx-controller Required EnoughLongLivedNodes ingress-nginx",
				"ingress-nginx Job/ingress-nginx-admission-create Unchanged NoPolicy ",
				"ingress-nginx DaemonSet/ingress-nginx-edge Unchanged DaemonSetPod ",
			},
			[]string{"passed over, since no pods of these are known: ConfigMap/ingress-nginx-controller"},
		},
		"a list as the API gives it, and JSON behind JSON": {
			[]string{"-n", "shop", "-f", in("list.json")},
			[]string{"traefik StatefulSet/traefik Required PoolAutoscaled traefik", "shop CronJob/backup Unchanged NoPolicy "},
			[]string{"no nodes are given: what the long-lived nodes can hold is not known"},
		},
		"what is not as simple as it looks": {
			[]string{"--policies", in("nodes.yaml"), "-f", in("odd.yaml")},
			[]string{
				"default Deployment/asks-for-spot Unchanged Contradiction istio-ingress", "default ReplicaSet/opted-out Unchanged OptedOut ",
				"default Pod/bound Unchanged BoundPod ", "default Pod/running Required EnoughLongLivedNodes istio-ingress",
				"default Pod/asks-itself-* Required EnoughLongLivedNodes ",
			},
			[]string{"passed over, since no pods of these are known: Rollout/edge"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lines, notes := decisions(t, "", append([]string{"--offline", "--policies", in("policies.yaml")}, c.args...)...)
			if diff := cmp.Diff(c.lines, lines); diff != "" {
				t.Errorf("decisions (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.notes, notes); diff != "" {
				t.Errorf("notes (-want +got):\n%s", diff)
			}
		})
	}
}

// refusal is why no admission policy can be made of the mode Auto.
const refusal = "the mode Auto with a fixed pool asks how many long-lived nodes there are, which an admission policy cannot see; " +
	"set mode to Required or Preferred, or longLivedPool to Autoscaled"

const (
	onePolicy = "apiVersion: placement.ebbtide.dev/v1alpha1\nkind: PlacementPolicy\nmetadata: {name: web}\n" +
		"spec: {mode: Required, match: {podSelector: {matchLabels: {app: web}}}}\n"
	onePod = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, labels: {app: web}}\nspec: {containers: [{name: main, image: example.com/web:1}]}\n"
)

func TestAPodThatWasPlacedBeforeIsDecidedAboutOnce(t *testing.T) {
	t.Parallel()
	config := testdata("config.yaml")
	first := ask(t, onePolicy+"---\n"+onePod, "--offline", "--config", config, "-f", "-")
	if !strings.Contains(first.stdout, "\n+  affinity:\n") {
		t.Fatalf("the pod is not placed:\n%s%s", first.stderr, first.stdout)
	}
	// What the API server would have stored, and kubectl get -o yaml would write.
	placed := "apiVersion: v1\nkind: Pod\nmetadata: {name: web, labels: {app: web}, uid: 5f7e3b2a-0000-4000-8000-000000000003,\n" +
		"  annotations: {ebbtide.dev/placement-decision: '" + placement.Record{Policy: "web", Outcome: placement.PlacedRequired, Reason: placement.PolicyRequires}.String() + "'}}\n" +
		"spec: {nodeName: steady-1, containers: [], affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [\n" +
		"  {matchExpressions: [{key: team/kind, operator: NotIn, values: [spot]}]}]}}}}\n"
	nodes, err := os.ReadFile(testdata("nodes.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	again := ask(t, onePolicy+"---\n"+placed+"---\n"+string(nodes), "--offline", "--config", config, "-f", "-")
	want := `pod       default/web
before    Required (PolicyRequires), by policy "web"
decision  Required
reason    PolicyRequires: the policy requires a long-lived node; policy "web"
note      the pod runs on node "steady-1", a long-lived node; it is decided about as if it were created again
note      namespace "default" is not known, and taken to have no label but its name

The pod stays as it is: it has all of this already.
`
	if diff := cmp.Diff(reply{stdout: want}, again, cmp.AllowUnexported(reply{})); diff != "" {
		t.Errorf("reply (-want +got):\n%s", diff)
	}
}

// What pods of a controller went through, the webhook learns from the auditor, and
// explain from what was recorded on them.
func TestAWorkloadThatLatelyWaitedInVainIsNotRequiredAgain(t *testing.T) {
	t.Parallel()
	nodes, err := os.ReadFile(testdata("nodes.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	pod := func(name, metadata string) string {
		return "---\napiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", labels: {app: web}, uid: " + name + "-uid, " + metadata +
			"ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web, uid: web-uid, controller: true}]}\nspec: {containers: []}\n"
	}
	record := placement.Record{Policy: "web", Outcome: placement.PlacedPreferred, Reason: placement.PendingBefore}
	auto := strings.Replace(onePolicy, "Required", "Auto", 1)
	for name, c := range map[string]struct {
		ago  time.Duration
		want []string
	}{
		"a minute ago": {time.Minute, []string{"default Pod/waited Preferred PendingBefore web", "default Pod/fellow Preferred PendingBefore web"}},
		"an hour ago":  {time.Hour, []string{"default Pod/waited Required EnoughLongLivedNodes web", "default Pod/fellow Required EnoughLongLivedNodes web"}},
	} {
		waited := pod("waited", "creationTimestamp: '"+time.Now().Add(-c.ago).UTC().Format(time.RFC3339)+"', annotations: {"+
			placement.DecisionAnnotation+": '"+record.String()+"'}, ")
		lines, _ := decisions(t, auto+"---\n"+string(nodes)+waited+pod("fellow", ""), "--offline", "-f", "-")
		if diff := cmp.Diff(c.want, lines); diff != "" {
			t.Errorf("%s: decisions (-want +got):\n%s", name, diff)
		}
	}
}

func TestAnAnswerCanBeReadByPrograms(t *testing.T) {
	t.Parallel()
	got := ask(t, onePolicy+"---\n"+onePod, "--offline", "--config", testdata("config.yaml"), "-f", "-", "-o", "json")
	want, err := os.ReadFile(testdata("answer.json"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.stdout); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
}

func TestANamespaceOfTheFilesHasItsLabels(t *testing.T) {
	t.Parallel()
	policy := strings.Replace(onePolicy, "podSelector: {matchLabels: {app: web}}", "namespaceSelector: {matchLabels: {team: edge}}", 1)
	namespace := "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: edge}}\n"
	for name, c := range map[string]struct{ files, want string }{
		"a namespace that is described": {policy + "---\n" + namespace + "---\n" + onePod, "shop Pod/web Required PolicyRequires web"},
		"one that is not":               {policy + "---\n" + onePod, "shop Pod/web Unchanged NoPolicy "},
	} {
		lines, _ := decisions(t, c.files, "--offline", "-n", "shop", "-f", "-")
		if diff := cmp.Diff([]string{c.want}, lines); diff != "" {
			t.Errorf("%s: decisions (-want +got):\n%s", name, diff)
		}
	}
}
