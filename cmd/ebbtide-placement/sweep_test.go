package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/chart"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/placement/placementtest"
	"github.com/ebbtide/ebbtide/placement/sweep"
)

func TestASweepTakesBackWhatNoAgentWill(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	placementtest.InstallCRD(t, l)
	objects, err := chart.Render(t.Context(), chart.Options{Values: map[string]any{"sweep": map[string]any{"onUninstall": true}}})
	if err != nil {
		t.Fatal(err)
	}
	var role rbacv1.ClusterRole
	if err := objects.Read("ClusterRole", "ebbtide-sweep", &role); err != nil {
		t.Fatal(err)
	}
	kubeconfig, err := l.ServiceAccount(t.Context(), "ebbtide", "sweeper", role.Rules)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"past", "to-come", "untouched"} {
		l.Node(t, lab.NodeSpec{Name: name})
	}
	mark(t, l, "past", -time.Hour)
	mark(t, l, "to-come", time.Hour)

	for _, step := range []struct {
		args        string
		says        []string
		cordoned    map[string]bool
		description string
	}{
		{"--dry-run", []string{"past\twould be taken back", "to-come\tleft as it is"}, map[string]bool{"past": true, "to-come": true}, "a rehearsal"},
		{"", []string{"past\ttaken back", "to-come\tleft as it is"}, map[string]bool{"past": false, "to-come": true}, "a sweep"},
		{"--all", []string{"to-come\ttaken back"}, map[string]bool{"past": false, "to-come": false}, "a sweep of all"},
		{"--all", []string{"Nothing is left"}, map[string]bool{"past": false, "to-come": false}, "one after it"},
	} {
		var stdout, stderr bytes.Buffer
		args := append([]string{"--kubeconfig", kubeconfig}, strings.Fields(step.args)...)
		if code := sweepUp(t.Context(), args, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
			t.Fatalf("%s ended with %d: %s", step.description, code, stderr.String())
		}
		for _, line := range step.says {
			if !strings.Contains(stdout.String(), line) {
				t.Errorf("%s says nothing of %q: %s", step.description, line, stdout.String())
			}
		}
		for name, want := range step.cordoned {
			if node := nodeOf(t, l, name); node.Spec.Unschedulable != want || (node.Annotations[drain.StateAnnotation] != "") != want {
				t.Errorf("after %s node %s is unschedulable: %t, with the annotation %q; want %t", step.description, name,
					node.Spec.Unschedulable, node.Annotations[drain.StateAnnotation], want)
			}
		}
	}
}

// mark cordons a node as a drain does, with its deadline so far from now.
func mark(t *testing.T, l *lab.Lab, name string, away time.Duration) {
	t.Helper()
	client, err := drain.NewClient(l.Config(), name)
	if err != nil {
		t.Fatal(err)
	}
	state := drain.State{Notice: name, Source: "aws", Kind: "SpotInterruption", Action: "terminate"}
	state.SetDeadline(time.Now().Add(away), time.Now(), drain.Boot{ID: "boot", Uptime: func() time.Duration { return time.Hour }})
	if _, outcome := drain.Cordon(t.Context(), client, state); outcome.Err != "" {
		t.Fatal(outcome.Err)
	}
}

func nodeOf(t *testing.T, l *lab.Lab, name string) *corev1.Node {
	t.Helper()
	node, err := l.Client().CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return node
}

// Another interruption may begin between the look at the nodes and a node's turn.
func TestASweepLeavesADrainAloneThatHasBegunSinceItLooked(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	const name = "interrupted-again"
	l.Node(t, lab.NodeSpec{Name: name})
	mark(t, l, name, -time.Hour)
	nodes, err := leftBehind(t.Context(), l.Client())
	if err != nil {
		t.Fatal(err)
	}
	mark(t, l, name, time.Hour)
	undoer := sweep.Undoer{Config: l.Config(), Client: l.Client()}
	line, err := sweeping{}.node(t.Context(), undoer, nodes[name])
	if want := name + "\tleft as it is"; err != nil || !strings.Contains(line, want) {
		t.Errorf("it says %q, %v; want %q", line, err, want)
	}
	if node := nodeOf(t, l, name); !node.Spec.Unschedulable || node.Annotations[drain.StateAnnotation] == "" {
		t.Errorf("the node was opened in the middle of a drain: %+v", node.Spec)
	}
}

// A pod that is handed over on a node that carries nothing, as by a rescue whose leader
// died, is given back too.
func TestASweepGivesBackPodsThatWereHandedOver(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	placementtest.InstallCRD(t, l)
	l.Node(t, lab.NodeSpec{Name: "one"})
	namespace := l.Namespace(t)
	manifest := `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 1, selector: {matchLabels: {app: web}},
template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: none}]}}}}`
	if err := l.Apply(t.Context(), namespace, manifest); err != nil {
		t.Fatal(err)
	}
	var pod corev1.Pod
	placementtest.Await(t, "the pod", func(ctx context.Context) error {
		pods, err := l.Client().CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil || !lab.AllReady(1)(pods.Items) {
			return fmt.Errorf("%d pods are there: %w", len(pods.Items), err)
		}
		pod = pods.Items[0]
		return nil
	})
	client, err := drain.NewClient(l.Config(), "one")
	if err != nil {
		t.Fatal(err)
	}
	placementtest.Await(t, "the hand-over", func(ctx context.Context) error {
		refusal, err := drain.NewHandOvers(client, "notice").Begin(ctx, &pod)
		if err == nil && refusal != "" && refusal != drain.AlreadyHanded {
			return fmt.Errorf("it is refused: %s", refusal)
		}
		return err
	})
	var stdout, stderr bytes.Buffer
	if code := sweepUp(t.Context(), []string{"--kubeconfig", l.Kubeconfig()}, &stdout, &stderr); code != 0 {
		t.Fatalf("it ended with %d: %s", code, stderr.String())
	}
	if want := "one\ttaken back: 1 pods handed over"; !strings.Contains(stdout.String(), want) {
		t.Errorf("it says %q, want %q", stdout.String(), want)
	}
	placementtest.Await(t, "the pod to be its ReplicaSet's again", func(ctx context.Context) error {
		found, err := l.Client().CoreV1().Pods(namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if owner := metav1.GetControllerOf(found); owner == nil || owner.Kind != "ReplicaSet" || found.Labels[drain.HandedOverKey] != "" {
			return fmt.Errorf("its owner is %v, its labels %v", owner, found.Labels)
		}
		return nil
	})
}

// When the chart is gone, so is its configuration, and a policy of another name would stay
// in force for good.
func TestASweepKnowsTheNameOfTheAdmissionPolicy(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("admissionPolicy: {name: of-the-file}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"the default one, when nothing is said": {nil, "ebbtide-placement"},
		"by the configuration":                  {[]string{"--config", file}, "of-the-file"},
		"by its flag":                           {[]string{"--admission-policy", "of-the-flag"}, "of-the-flag"},
		"by its flag before the configuration":  {[]string{"--config", file, "--admission-policy", "of-the-flag"}, "of-the-flag"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := readSweeping(c.args)
			if err != nil || s.config.AdmissionPolicy.Name != c.want {
				t.Errorf("it is %q (%v), want %q", s.config.AdmissionPolicy.Name, err, c.want)
			}
		})
	}
}

func TestASweepSaysWhatItWasAskedInVain(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]struct {
		code int
		says string
	}{
		"--help":                 {0, "Exit code: 0"},
		"everything":             {2, `"everything" is not a flag`},
		"--al":                   {2, "-al"},
		"--config missing.yaml":  {2, "missing.yaml"},
		"--kubeconfig /dev/null": {1, "/dev/null"},
	} {
		var stdout, stderr bytes.Buffer
		code := sweepUp(t.Context(), strings.Fields(args), &stdout, &stderr)
		if said := stdout.String() + stderr.String(); code != want.code || !strings.Contains(said, want.says) {
			t.Errorf("%s ends with %d and says %q, want %d and %q", args, code, said, want.code, want.says)
		}
	}
}
