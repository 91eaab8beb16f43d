package placementrun

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/ebbtide/ebbtide/e2e/internal/programrun"
)

// standIn is a program with the placement program's surface, so that these tests need
// no cluster.
const standIn = "github.com/ebbtide/ebbtide/e2e/internal/programrun/testdata/fakeprogram"

func TestAReplicaGetsItsFileAndSaysWhereItServesReviews(t *testing.T) {
	t.Parallel()
	i := &Installation{Front: newFront(t), namespace: "own", kubeconfig: "/lab/kubeconfig"}
	r := i.Run(t, Options{
		Binary: programrun.Binary(t, standIn, Race), Instance: "a", Args: []string{"--reviews=127.0.0.1:10250"},
		Config: map[string]any{"webhook": map[string]any{"linger": "2s"}, "lifecycle": map[string]any{"builtIn": true}},
	})
	if r.Instance() != "a" || r.Reviews() != "127.0.0.1:10250" {
		t.Errorf("replica %q serves reviews at %q", r.Instance(), r.Reviews())
	}
	started, err := r.WaitLog(t.Context(), "Started")
	if err != nil {
		t.Fatal(err)
	}
	if got := started.Text("kubeconfig"); got != "/lab/kubeconfig" {
		t.Errorf("kubeconfig %q", got)
	}
	var config map[string]any
	if err := yaml.Unmarshal([]byte(started.Text("config")), &config); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"namespace": "own", "instance": "a", "listen": "127.0.0.1:0",
		"webhook": map[string]any{
			"listen": "127.0.0.1:0", "url": i.Front.URL(), "configuration": Configuration, "linger": "2s",
		},
		"certificate": map[string]any{"secret": Secret},
		"lifecycle":   map[string]any{"builtIn": true},
	}
	if diff := cmp.Diff(want, config); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

func TestAReplicaWithoutANameIsNotStarted(t *testing.T) {
	t.Parallel()
	i := &Installation{Front: newFront(t)}
	if r, err := i.Start(t.Context(), Options{Binary: programrun.Binary(t, standIn, Race), Dir: t.TempDir()}); err == nil {
		t.Errorf("started; %v", r.Kill())
	}
}
