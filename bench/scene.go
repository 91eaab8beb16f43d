package main

import (
	"fmt"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// scene is what nodes and workloads there are when the notices come.
type scene struct {
	key, title string
	// notice is the time from the moment at which the notices become readable until
	// the machines die.
	notice time.Duration
	// doomed nodes get notice, and the pods of groups fill each of them exactly;
	// safe ones do not, and join when those pods run.
	doomed, podsPerNode, safe int
	groups                    []group
}

// group is a workload, its budgets, and the life of its pods.
type group struct {
	name      string // without a dash: names of pods and ReplicaSets begin with it and one
	kind      kind
	replicas  int           // on doomed nodes
	elsewhere int           // on safe ones
	grace     time.Duration // the pods' own, in whole seconds
	exits     string        // the time from SIGTERM until a pod has ended; or "never"
	budgets   []policyv1.PodDisruptionBudgetSpec
	service   bool
}

// kind is what kind of workload makes the pods of a group.
type kind int

const (
	deployment kind = iota
	// statefulSet makes a pod anew only when the old one is gone, so that nobody can
	// open its budget by making more pods.
	statefulSet
)

// sizes are those that the command line may change.
type sizes struct {
	pods, blocked, nodes, podsPerNode, budgets int
}

// newScenes returns the scenes that the contenders are compared on.
func newScenes(size sizes) []scene {
	return []scene{
		crowdedNode(size), closedBudgets(size), singleReplica(),
		storm(size, "d", "20%"), storm(size, "d_open", "100%"), shortNotice(),
	}
}

// Budgets that let every pod go at once, and none ever.
const (
	allDown  = "100%"
	noneDown = "0"
)

// crowdedNode is a: as many pods as a kubelet takes, and nothing in their way.
func crowdedNode(size sizes) scene {
	const deployments = 11
	s := scene{
		key: "a", title: fmt.Sprintf("%d pods on one node, of %d Deployments with an open budget each; 120 s", size.pods, deployments),
		notice: 2 * time.Minute, doomed: 1, podsPerNode: size.pods, safe: 1 + size.pods/200,
	}
	for i, replicas := range spread(size.pods, deployments) {
		s.groups = append(s.groups, group{
			name: fmt.Sprintf("web%02d", i), replicas: replicas, grace: 30 * time.Second, exits: "3s", budgets: maxDown(allDown),
		})
	}
	return s
}

// closedBudgets is b: no eviction can pass, at any time. Half of the pods end within
// their own grace, half use up all that they are given.
func closedBudgets(size sizes) scene {
	groups := []group{
		{name: "ledger", kind: statefulSet, grace: 10 * time.Second, exits: "5s", budgets: maxDown(noneDown)},
		{name: "queue", kind: statefulSet, grace: 30 * time.Second, exits: "never", budgets: maxDown(noneDown)},
		{name: "archive", kind: statefulSet, grace: 10 * time.Minute, exits: "never", budgets: maxDown(noneDown)},
		// The API server refuses to evict a pod of two budgets, whatever these allow.
		{name: "twice", kind: deployment, grace: 30 * time.Second, exits: "12s", budgets: append(maxDown(allDown), maxDown(allDown)...)},
	}
	for i, replicas := range spread(size.blocked, len(groups)) {
		groups[i].replicas = replicas
	}
	return scene{
		key: "b", title: fmt.Sprintf("%d pods behind budgets that never open; 60 s", size.blocked),
		notice: time.Minute, doomed: 1, podsPerNode: size.blocked, safe: 1 + size.blocked/200, groups: groups,
	}
}

// singleReplica is c: the budget of a workload that has one pod can only open once
// there are two.
func singleReplica() scene {
	one := intstr.FromInt32(1)
	return scene{
		key: "c", title: "a single replica behind a Service, with minAvailable: 1; 60 s",
		notice: time.Minute, doomed: 1, podsPerNode: 1, safe: 1,
		groups: []group{{
			name: "single", replicas: 1, grace: 30 * time.Second, exits: "3s", service: true,
			budgets: []policyv1.PodDisruptionBudgetSpec{{MinAvailable: &one}},
		}},
	}
}

// storm is d: half of the nodes get notice at the same moment, and every Deployment
// has half of its pods on them.
func storm(size sizes, key, maxUnavailable string) scene {
	doomed := size.nodes / 2
	s := scene{
		key: key, notice: 2 * time.Minute, doomed: doomed, podsPerNode: size.podsPerNode, safe: size.nodes - doomed,
		title: fmt.Sprintf("a storm takes %d of %d nodes with %d pods each, of %d Deployments with maxUnavailable: %s; 120 s",
			doomed, size.nodes, size.podsPerNode, size.budgets, maxUnavailable),
	}
	for i, replicas := range spread(doomed*size.podsPerNode, size.budgets) {
		s.groups = append(s.groups, group{
			name: fmt.Sprintf("web%02d", i), replicas: replicas, elsewhere: replicas,
			grace: 10 * time.Second, exits: "6s", budgets: maxDown(maxUnavailable),
		})
	}
	return s
}

// shortNotice is e: what GCP and Azure promise, and pods that ask for less than that,
// for nearly all of it and for far more, with nothing in their way and with a budget
// that never opens.
func shortNotice() scene {
	const replicas = 6
	return scene{
		key: "e", title: "30 s notices for 3 nodes with 10 pods each, of graces from 5 s to 10 min, two fifths of them behind closed budgets",
		notice: 30 * time.Second, doomed: 3, podsPerNode: 10, safe: 2,
		groups: []group{
			{name: "brief", replicas: replicas, grace: 5 * time.Second, exits: "2s", budgets: maxDown(allDown)},
			{name: "steady", replicas: replicas, grace: 20 * time.Second, exits: "15s", budgets: maxDown(allDown)},
			{name: "closed", kind: statefulSet, replicas: replicas, grace: 20 * time.Second, exits: "15s", budgets: maxDown(noneDown)},
			{name: "long", replicas: replicas, grace: 10 * time.Minute, exits: "never", budgets: maxDown(allDown)},
			{name: "shut", kind: statefulSet, replicas: replicas, grace: time.Minute, exits: "never", budgets: maxDown(noneDown)},
		},
	}
}

func maxDown(maxUnavailable string) []policyv1.PodDisruptionBudgetSpec {
	value := intstr.Parse(maxUnavailable)
	return []policyv1.PodDisruptionBudgetSpec{{MaxUnavailable: &value}}
}

// spread divides n into parts that differ by one at most.
func spread(n, parts int) []int {
	shares := make([]int, parts)
	for i := range shares {
		shares[i] = n / parts
		if i < n%parts {
			shares[i]++
		}
	}
	return shares
}

// pods returns how many pods the scene has, on all nodes and on the doomed ones.
func (s scene) pods() (all, doomed int) {
	for _, g := range s.groups {
		doomed += g.replicas
		all += g.replicas + g.elsewhere
	}
	return all, doomed
}

// check returns what keeps the scene from being what it is said to be.
func (s scene) check() error {
	if _, doomed := s.pods(); doomed != s.doomed*s.podsPerNode {
		return fmt.Errorf("scene %s has %d pods for %d nodes of %d", s.key, doomed, s.doomed, s.podsPerNode)
	}
	for _, g := range s.groups {
		if g.replicas == 0 {
			return fmt.Errorf("scene %s has no pod for %q: more pods are needed", s.key, g.name)
		}
	}
	return nil
}
