"""The commands of `pipelines`. `project_template` has the files that `pipelines new` writes."""
