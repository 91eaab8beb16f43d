package main

import "github.com/ebbtide/ebbtide/cmd/internal/settings"

// file returns the configuration as a file that reads back as the same.
func (c Config) file() string { return settings.Encode(c, c.fields()) }

// fields maps the path of each field of the file to what reads it. A test holds it
// to the fields that Config has.
func (c *Config) fields() settings.Fields {
	return settings.Fields{
		"nodeName":                  settings.Text(&c.NodeName),
		"provider":                  settings.Text(&c.Provider),
		"aws.endpoint":              settings.Text(&c.AWS.Endpoint),
		"aws.allowIMDSv1":           settings.Truth(&c.AWS.AllowIMDSv1),
		"aws.pollInterval":          settings.Duration(&c.AWS.PollInterval),
		"aws.rebalance":             settings.Truth(&c.AWS.Rebalance),
		"aws.maintenance":           settings.Truth(&c.AWS.Maintenance),
		"aws.lifecycle":             settings.Truth(&c.AWS.Lifecycle),
		"aws.lifecycleNotice":       settings.Duration(&c.AWS.LifecycleNotice),
		"gcp.endpoint":              settings.Text(&c.GCP.Endpoint),
		"azure.endpoint":            settings.Text(&c.Azure.Endpoint),
		"azure.acknowledge":         settings.Truth(&c.Azure.Acknowledge),
		"alibaba.endpoint":          settings.Text(&c.Alibaba.Endpoint),
		"tencent.endpoint":          settings.Text(&c.Tencent.Endpoint),
		"cluster.enabled":           settings.Truth(&c.Cluster.Enabled),
		"respond.spotInterruption":  settings.Text(&c.Respond.SpotInterruption),
		"respond.rebalanceAdvice":   settings.Text(&c.Respond.RebalanceAdvice),
		"respond.maintenance":       settings.Text(&c.Respond.Maintenance),
		"respond.migration":         settings.Text(&c.Respond.Migration),
		"respond.freeze":            settings.Text(&c.Respond.Freeze),
		"respond.scaleIn":           settings.Text(&c.Respond.ScaleIn),
		"respond.nodeShutdown":      settings.Text(&c.Respond.NodeShutdown),
		"respond.clusterDisruption": settings.Text(&c.Respond.ClusterDisruption),
		"respond.shortFreeze":       settings.Duration(&c.Respond.ShortFreeze),
		"respond.lead":              settings.Duration(&c.Respond.Lead),
		"respond.ttl":               settings.Duration(&c.Respond.TTL),
		"advice.priority":           settings.Number(&c.Advice.Priority),
		"drain.daemonSets":          settings.Truth(&c.Drain.DaemonSets),
		"drain.volumeDetach":        settings.Duration(&c.Drain.VolumeDetach),
		"drain.concurrency":         settings.Number(&c.Drain.Concurrency),
		"drain.handOver":            settings.Text(&c.Drain.HandOver),
		"drill.socket":              settings.Text(&c.Drill.Socket),
		"listen":                    settings.Text(&c.Listen),
		"log.level":                 settings.Text(&c.Log.Level),
		"log.format":                settings.Text(&c.Log.Format),
		"kubeconfig":                settings.Text(&c.Kubeconfig),
	}
}
