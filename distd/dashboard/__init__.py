"""The dashboard's files, as they are served: plain HTML, CSS and JavaScript modules without a build step."""
