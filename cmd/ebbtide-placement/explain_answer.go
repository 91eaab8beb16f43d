package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/placement"
)

// errNothing is the answer to files that hold no pods.
var errNothing = errors.New("nothing to explain was found")

// answer decides about everything that is asked. What it noted before an error is
// returned with it.
func (q question) answer(ctx context.Context, stdin io.Reader) (answers, error) {
	found := answers{Notes: []string{}, Explanations: []placement.Explanation{}}
	asked, err := q.readFiles(q.files, stdin, &found)
	if err != nil {
		return found, err
	}
	beside, err := q.readFiles(q.beside, stdin, &found)
	if err != nil {
		return found, err
	}
	k := newKnown()
	namespace, fromCluster, err := q.ask(ctx, k, slices.Concat(beside, asked), &found)
	if err != nil {
		return found, err
	}
	// After the cluster, which they win over.
	for _, m := range slices.Concat(beside, asked) {
		k.add(m, namespace)
	}
	judge := k.judge(q, &found)
	var others []string
	for _, m := range slices.Concat(asked, fromCluster) {
		if m.object == nil {
			others = append(others, m.String())
			continue
		}
		if !m.hasPods() {
			continue
		}
		explanation, err := judge.explain(m, namespace)
		if err != nil {
			return found, err
		}
		found.Explanations = append(found.Explanations, explanation)
	}
	if len(others) > 0 {
		found.note("passed over, since no pods of these are known: %s", strings.Join(others, ", "))
	}
	if len(found.Explanations) == 0 {
		return found, errNothing
	}
	return found, nil
}

func (a *answers) note(format string, args ...any) {
	a.Notes = append(a.Notes, fmt.Sprintf(format, args...))
}

// readFiles reads the objects of files.
func (q question) readFiles(paths []string, stdin io.Reader, found *answers) ([]manifest, error) {
	var all []manifest
	for _, path := range paths {
		file, err := readFile(path, stdin)
		if err != nil {
			return nil, err
		}
		all = append(all, file.manifests...)
		found.Notes = append(found.Notes, file.notes...)
	}
	return all, nil
}

// ask learns from the cluster what the files do not say, and gets the objects that
// are named. It returns the namespace of objects that name none.
func (q question) ask(ctx context.Context, k *known, files []manifest, found *answers) (namespace string, named []manifest, err error) {
	namespace = cmp.Or(q.namespace, corev1.NamespaceDefault)
	var c *cluster
	if !q.offline {
		if c, err = q.connect(); err != nil {
			return "", nil, err
		}
	}
	if c == nil {
		if len(q.named) > 0 {
			return "", nil, fmt.Errorf("reading %s: no kubeconfig names a cluster: give --kubeconfig", q.named[0])
		}
		if !q.offline {
			found.note("no kubeconfig names a cluster: what the files say is all that is known")
		}
		return namespace, nil, nil
	}
	namespace = cmp.Or(q.namespace, c.namespace)
	ctx, cancel := context.WithTimeoutCause(ctx, askWithin, errSilent)
	defer cancel()
	notes, err := c.tell(ctx, k, slices.ContainsFunc(files, manifest.isPolicy))
	if err != nil {
		return "", nil, err
	}
	found.note("asked %s: %d policies, %d nodes", c.host, len(k.policies), len(k.nodes))
	found.Notes = append(found.Notes, notes...)
	k.asked = true
	for _, r := range q.named {
		m, err := c.get(ctx, r, namespace)
		if err != nil {
			return "", nil, err
		}
		named = append(named, m)
	}
	return namespace, named, nil
}

func (m manifest) isPolicy() bool {
	_, is := m.object.(*v1alpha1.PlacementPolicy)
	return is
}

// hasPods says whether the object is a pod, or one that pods are made from.
func (m manifest) hasPods() bool {
	switch m.object.(type) {
	case nil, *v1alpha1.PlacementPolicy, *corev1.Namespace, *corev1.Node:
		return false
	}
	return true
}
