// Package image builds the image that the chart installs, from the repository's own
// Dockerfile, and reads what came of it. It needs buildah, and leaves nothing behind
// but the archive that it was asked for, and what buildah notes about layers in a small
// file of the machine's (/var/lib/containers/cache), which no option of it prevents.
package image
