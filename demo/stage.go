package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ebbtide/ebbtide/agent/aws/awstest"
	"github.com/ebbtide/ebbtide/agent/report"
	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/agentrun"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

//go:embed workloads.yaml
var workloads string

const (
	namespace = "default"
	doomed    = "spot-1"
	// podCount is what workloads.yaml comes to on six nodes.
	podCount = 20 + 1 + 1 + 2 + 6 + 1 + 1 + 1
	// settleWithin bounds each wait of the build-up, which takes seconds.
	settleWithin = 90 * time.Second
)

// The user that the agent is to the API server.
const (
	agentNamespace = "ebbtide"
	agentName      = "agent"
)

// stage is everything that the demo is played on.
type stage struct {
	lab      *lab.Lab
	doomed   *lab.Node
	metadata *awstest.Server
	agent    *agentrun.Agent
}

// setUp builds and starts everything. What it has started before it fails is in the
// stage too, for tearDown.
func (s *stage) setUp(ctx context.Context, screen *screen) (err error) {
	screen.line(faint, "Starting Kubernetes (the first time it is built from source, which takes some minutes)")
	if s.lab, err = lab.Start(ctx, lab.Options{Progress: screen}); err != nil {
		return err
	}
	// In the lab's folder, which vanishes even if this process is killed.
	dir := filepath.Join(s.lab.Dir(), "agent")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("creating a folder for the agent: %w", err)
	}
	screen.line(faint, "Building the agent")
	program, err := agentrun.Build(ctx, dir, false)
	if err != nil {
		return err
	}
	screen.line(faint, "Kubernetes %s runs; adding three spot and three long-lived nodes, and their pods", s.lab.Version())
	if err := s.populate(ctx); err != nil {
		return err
	}
	if s.metadata, err = awstest.Start(awstest.Options{}); err != nil {
		return err
	}
	rules := append(drain.PolicyRules(), report.PolicyRules()...)
	kubeconfig, err := s.lab.ServiceAccount(ctx, agentNamespace, agentName, rules)
	if err != nil {
		return err
	}
	s.agent, err = agentrun.Start(ctx, agentrun.Options{
		Binary: program, Node: doomed, Kubeconfig: kubeconfig, Endpoint: s.metadata.URL(), Dir: dir,
	})
	if err != nil {
		return err
	}
	ready, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	return s.agent.Ready(ready)
}

// tearDown ends everything that setUp has started.
func (s *stage) tearDown() error {
	var errs []error
	if s.agent != nil {
		errs = append(errs, s.agent.Kill())
	}
	if s.metadata != nil {
		s.metadata.Close()
	}
	if s.lab != nil {
		errs = append(errs, s.lab.Close())
	}
	return errors.Join(errs...)
}

// populate adds the nodes and the workloads and waits until every pod is Ready.
func (s *stage) populate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	for _, capacity := range []struct{ prefix, label string }{{"spot", "spot"}, {"long", "on-demand"}} {
		for i, zone := range []string{"eu-west-1a", "eu-west-1b", "eu-west-1c"} {
			node, err := s.lab.AddNode(ctx, machine(fmt.Sprintf("%s-%d", capacity.prefix, i+1), capacity.label, zone))
			if err != nil {
				return err
			}
			if node.Name() == doomed {
				s.doomed = node
			}
		}
	}
	if err := s.lab.Apply(ctx, namespace, workloads); err != nil {
		return err
	}
	if err := s.lab.WaitPods(ctx, namespace, "", lab.AllReady(podCount)); err != nil {
		return err
	}
	return s.checkCast(ctx)
}

func machine(name, capacity, zone string) lab.NodeSpec {
	return lab.NodeSpec{
		Name: name,
		Labels: map[string]string{
			"karpenter.sh/capacity-type":       capacity,
			corev1.LabelTopologyZone:           zone,
			corev1.LabelTopologyRegion:         "eu-west-1",
			corev1.LabelInstanceTypeStable:     "m7g.2xlarge",
			"node.kubernetes.io/instance-size": "2xlarge",
		},
		ProviderID: "aws:///" + zone + "/i-" + name,
		Allocatable: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse("8"),
			corev1.ResourceMemory: resource.MustParse("32Gi"),
			corev1.ResourcePods:   resource.MustParse("58"),
		},
	}
}

// cast is how many pods of each app the doomed node has to carry at least: the demo
// shows nothing about a pod that is not there.
var cast = map[string]int{
	"web": 3, "licence-server": 1, "gateway": 1, "db": 1, "node-logs": 1, "by-hand": 1, "nightly-report": 1, "video-encoder": 1,
}

func (s *stage) checkCast(ctx context.Context) error {
	pods, err := s.lab.Client().CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + doomed})
	if err != nil {
		return fmt.Errorf("listing the pods of %q: %w", doomed, err)
	}
	here := map[string]int{}
	for i := range pods.Items {
		here[pods.Items[i].Labels["app"]]++
	}
	for app, least := range cast {
		if here[app] < least {
			return fmt.Errorf("scheduling the demo: %q carries %d pods of %q and needs %d", doomed, here[app], app, least)
		}
	}
	return nil
}
