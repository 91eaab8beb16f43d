package main

import (
	"context"
	"errors"
	"time"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

const forty = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 40
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      nodeSelector: {bench: drain}
      terminationGracePeriodSeconds: 10
      containers: [{name: web, image: none}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {maxUnavailable: 100%, selector: {matchLabels: {app: web}}}
`

// drain counts what a drain of 40 pods asks of the API server.
func (b *bench) drain(ctx context.Context) (err error) {
	w, err := b.newWatch(ctx, onAWS, "drain")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.end(ctx)) }()
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	if err := b.lab.Apply(ctx, "default", forty); err != nil {
		return err
	}
	if err := b.lab.WaitPods(ctx, "default", "app=web", lab.AllReady(40)); err != nil {
		return err
	}
	seen := evidence{noticed: time.Now(), pods: make([]doomedPod, 40)}
	w.metadata.interrupt()
	if _, err := w.agent.WaitLog(ctx, "Drained node"); err != nil {
		return err
	}
	if seen.requests, err = b.lab.Requests(ctx, w.user); err != nil {
		return err
	}
	figures := Figures{figurePods: 40}
	seen.countRequests(figures)
	b.results.put("drain", ebbtide, figures)
	return nil
}
