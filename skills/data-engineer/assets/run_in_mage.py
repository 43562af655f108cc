"""Run a pipeline of a Mage project by Mage itself, once, in this process, as its scheduler would: with block runs, hence dynamic blocks.

    MAGE_DATA_DIR=... python run_in_mage.py PROJECT PIPELINE [NAME=VALUE ...]        (an environment with mage-ai 0.9.80)

`mage run` makes no block runs, so that the children of a dynamic block fail there. MAGE_DATA_DIR is where Mage keeps its own database
and variables. Prints how often each block ran, as JSON; ends with 1 if one did not complete.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import sys
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("pipeline")
    parser.add_argument("variables", nargs="*", metavar="NAME=VALUE")
    args = parser.parse_args()
    project = str(args.project.resolve())

    # Mage reads the project's path when it is imported, and prints to stdout.
    os.environ["USER_CODE_PATH"] = project
    os.chdir(project)
    sys.path.append(str(Path(project).parent))
    answer, sys.stdout = sys.stdout, sys.stderr
    from mage_ai.settings.repo import set_repo_path

    set_repo_path(project)
    from mage_ai.data_preparation.executors.pipeline_executor import PipelineExecutor
    from mage_ai.data_preparation.models.pipeline import Pipeline
    from mage_ai.orchestration.db import db_connection
    from mage_ai.orchestration.db.database_manager import database_manager
    from mage_ai.orchestration.db.models.schedules import BlockRun, PipelineRun, PipelineSchedule
    from mage_ai.orchestration.triggers.utils import create_and_start_pipeline_run

    database_manager.run_migrations()
    db_connection.start_session()
    pipeline = Pipeline.get(args.pipeline, repo_path=project)
    given = {**(pipeline.variables or {}), **dict(v.split("=", 1) for v in args.variables)}
    schedule = PipelineSchedule.create(name=args.pipeline, pipeline_uuid=args.pipeline, schedule_type="api", variables=given)
    run = create_and_start_pipeline_run(pipeline, schedule, {"variables": given})
    run.update(status=PipelineRun.PipelineRunStatus.RUNNING)
    variables = {**given, **run.get_variables()}
    PipelineExecutor(pipeline, execution_partition=run.execution_partition).execute(global_vars=variables, pipeline_run_id=run.id)
    run.refresh()

    states: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for block in BlockRun.query.filter(BlockRun.pipeline_run_id == run.id).all():
        states[block.block_uuid.partition(":")[0]][block.status.value] += 1
    print(json.dumps({uuid: dict(counts) for uuid, counts in states.items()}), file=answer)
    return 0 if all(set(counts) == {"completed"} for counts in states.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
