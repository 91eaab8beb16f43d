package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/agent/azure/azuretest"
	"github.com/ebbtide/ebbtide/agent/gcp/gcptest"
	"github.com/ebbtide/ebbtide/e2e/agentrun"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// found is an agent that is to find the provider of the scene's doomed node, at a fake of
// Google Cloud's metadata server.
func (s *scene) found(server *gcptest.Server) *agentrun.Agent {
	s.t.Helper()
	return agentrun.New(s.t, agentrun.Options{
		Node: s.doomed.Name(), Kubeconfig: s.kubeconfig, Provider: "auto", Endpoint: server.URL(),
	})
}

// isIn writes the doomed node's providerID, as a cloud's controller manager does.
func (s *scene) isIn(providerID string) {
	s.t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"providerID":%q}}`, providerID)
	_, err := s.lab.Client().CoreV1().Nodes().Patch(s.t.Context(), s.doomed.Name(), types.MergePatchType, patch, metav1.PatchOptions{})
	s.must(err)
}

func TestAnAgentFindsItsCloudAsSoonAsTheNodeTellsItAndAsksNobodyBefore(t *testing.T) {
	t.Parallel()
	s := newScene(t, lab.Shared(t))
	s.run(1, pods{name: "web", replicas: 1}.manifest(s))
	server := gcptest.New(t)
	a := s.found(server)
	s.must(a.WaitReadyz(s.within(30*time.Second), func(code int, body string) bool {
		return code == 503 && strings.Contains(body, "[-] provider: the node has no spec.providerID")
	}))
	if asked := server.Requests(); len(asked) > 0 {
		t.Errorf("the metadata service was asked for %v by an agent that did not know whose it is", asked)
	}

	s.isIn("gce://project-1/europe-west1-b/" + s.doomed.Name())
	s.must(a.Ready(s.within(30 * time.Second)))
	found, err := a.WaitLog(s.within(time.Second), "Found provider")
	s.must(err)
	if got := found.Text("provider"); got != "gcp" {
		t.Errorf("the agent has found %q", got)
	}
	server.Preempt(0)
	s.doomed.DieAt(time.Now().Add(30 * time.Second))
	if got := s.report(a, 30*time.Second); len(got.Pods) != 1 || got.Pods[0].GoneAt.IsZero() {
		t.Errorf("pods: %+v, want the one of web, gone", got.Pods)
	}
	s.noneLost()
}

func TestAnAgentWhereNobodyTellsOfAnEndIsReadyAndSaysSo(t *testing.T) {
	t.Parallel()
	s := newQuietScene(t, lab.Shared(t))
	s.isIn("kind://docker/kind/" + s.doomed.Name())
	server := gcptest.New(t)
	a := s.found(server)
	s.must(a.Ready(s.within(30 * time.Second)))
	_, err := a.WaitLog(s.within(time.Second), "Found no cloud that announces interruptions to its machines")
	s.must(err)
	metrics, err := a.Metrics(t.Context())
	s.must(err)
	for series, want := range map[string]float64{`ebbtide_provider{provider="none"}`: 1, `ebbtide_provider{provider="gcp"}`: 0} {
		if got, there := metrics[series]; got != want || !there {
			t.Errorf("%s is %v (there: %t), want %v", series, got, there, want)
		}
	}
	if asked := server.Requests(); len(asked) > 0 {
		t.Errorf("a metadata service was asked for %v", asked)
	}
}

func TestAzureNeedNotWaitForAMachineThatIsDrainedIfThatIsWanted(t *testing.T) {
	t.Parallel()
	for name, wanted := range map[string]bool{"it is told when it is": true, "it is told nothing unless it shall be": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t, lab.Shared(t))
			s.run(2, pods{name: "web", replicas: 2}.manifest(s))
			server := azuretest.New(t, azuretest.Options{Machine: "pool_7"})
			s.isIn("azure:///subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/pool/virtualMachines/7")
			a := agentrun.New(t, agentrun.Options{
				Node: s.doomed.Name(), Kubeconfig: s.kubeconfig, Provider: "auto", Endpoint: server.URL(),
				Config: map[string]any{"azure": map[string]any{"acknowledge": wanted}},
			})
			s.must(a.Ready(s.within(30 * time.Second)))
			server.Schedule(azuretest.Event{ID: "E-1", Type: "Terminate", Resources: []string{"pool_7"}, NotBefore: time.Now().Add(5 * time.Minute)})
			s.report(a, 30*time.Second)
			s.noneLost()
			if !wanted {
				s.must(a.Terminate()) // after all that follows a drain
				_, err := a.Wait(s.within(30 * time.Second))
				s.must(err)
				if asked := server.Requested(); len(asked) > 0 {
					t.Errorf("Azure was asked to begin %v", asked)
				}
				return
			}
			_, err := a.WaitLog(s.within(10*time.Second), "Acknowledged notice")
			s.must(err)
			if diff := cmp.Diff([]string{"E-1"}, server.Requested()); diff != "" {
				t.Errorf("what Azure was asked to begin (-want +got):\n%s", diff)
			}
		})
	}
}
