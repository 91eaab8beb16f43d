package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/agentrun"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

func TestBadConfigurationEndsWithExitCode2AndOneLineThatNamesEveryMistake(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "agent.yaml")
	content := "aws:\n  endpoint: http://127.0.0.1:1\n  pollIntervall: 1s\ndrain:\n  volumeDetach: soon\n"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	checked, err := agentrun.Check(t.Context(), agentrun.Binary(t, agentrun.Race), nil, "--config", file)
	if err != nil {
		t.Fatal(err)
	}
	if checked.ExitCode != 2 {
		t.Errorf("the exit code is %d, want 2", checked.ExitCode)
	}
	text := checked.Stderr
	if strings.Count(text, "\n") != 1 {
		t.Errorf("the agent said, want one line:\n%s", text)
	}
	for _, want := range []string{":3: aws.pollIntervall", ":5: drain.volumeDetach", "nodeName"} {
		if !strings.Contains(text, want) {
			t.Errorf("the agent does not name %q:\n%s", want, text)
		}
	}
}

func TestAnUnknownNodeIsSaidOnceAndKeepsTheAgentUnready(t *testing.T) {
	t.Parallel()
	s := newQuietScene(t, lab.Shared(t))
	a := agentrun.New(t, agentrun.Options{
		Binary: agentrun.Binary(t, agentrun.Race), Node: "no-such-node", Kubeconfig: s.kubeconfig,
		Endpoint: s.imds.URL(), Dir: t.TempDir(),
	})
	s.staysUnready(a, `no node is called "no-such-node"`)
}

func TestAMissingPermissionIsSaidOnceWithItsPurposeAndKeepsTheAgentUnready(t *testing.T) {
	t.Parallel()
	s := newQuietScene(t, lab.Shared(t))
	rules := drain.PolicyRules()
	without := make([]rbacv1.PolicyRule, 0, len(rules))
	for _, rule := range rules {
		if rule.Resources[0] != "pods/eviction" {
			without = append(without, rule)
		}
	}
	kubeconfig, err := s.lab.ServiceAccount(t.Context(), s.namespace, "restricted", without)
	s.must(err)
	s.kubeconfig = kubeconfig
	s.staysUnready(s.start(), "create pods/eviction (to evict within disruption budgets)")
}

// staysUnready waits until the agent says what is wrong and holds it to saying so
// once, however often it looks again.
func (s *scene) staysUnready(a *agentrun.Agent, what string) {
	s.t.Helper()
	s.must(a.WaitReadyz(s.within(20*time.Second), func(code int, body string) bool {
		return code == 503 && strings.Contains(body, what)
	}))
	// Two more looks, ten seconds apart.
	<-time.After(25 * time.Second)
	if code, body, err := a.Readyz(s.t.Context()); err != nil || code != 503 {
		s.t.Errorf("/readyz answers %d (%v), want 503:\n%s", code, err, body)
	}
	said := 0
	for _, record := range a.Records() {
		if record.Level == "ERROR" {
			said++
			if !strings.Contains(record.Text("err"), what) {
				s.t.Errorf("the log speaks of something else: %+v", record)
			}
		}
	}
	if said != 1 {
		s.t.Errorf("the log has %d errors, want one that says %q:\n%s", said, what, a.Output())
	}
}
