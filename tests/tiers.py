"""Which tests run by default, and which by ``make test-all`` only.

What costs most is sampled: of many cases, or of many tests of one kind, some run by default. The
rest has the marker ``long``.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable

import pytest

WHOLE = "NEUROPORT_TESTS"  # the environment variable: set to "all" by make test-all

# another test of the same road runs by default
LONG = {
    "cli/test_killed.py": (
        "test_training_killed_again_and_again_ends_with_the_bits_of_an_undisturbed_run",
    ),
    "unit/reporting/test_training_page.py": (
        "test_page_keeps_up_in_a_browser_and_keeps_what_was_opened",
    ),
    "properties/test_explained.py": ("test_a_flipped_message_is_the_fault_of_its_neuron",),
    "docs/test_site.py": (
        "test_no_page_scrolls_sideways",
        "test_the_search_finds_what_is_asked[390]",
    ),
    "parity/test_slayer_stock_road.py": (
        "test_stock_file_of_a_captured_network_is_right_in_unmodified_netx",
    ),
    "parity/test_slayer_example.py": ("test_example_trains_with_slayer_and_runs_equal_on_lava",),
    "parity/test_lava_failures.py": (
        "test_a_model_that_sleeps_for_ever_ends_at_the_deadline_and_is_told_where_it_was",
        "test_workers_have_one_deadline",
        "test_a_worker_that_fails_ends_the_others",
        "test_the_command_line_ends_at_its_deadline",
        "test_a_fused_process_that_sleeps_for_ever_is_told_where_it_was",
        "test_a_failure_at_start_up_ends_with_lavas_own_traceback",
    ),
    "parity/test_slayer_capture.py": (
        "test_what_lava_runs_by_default_has_every_node_field_and_wire_of_all_cases",
    ),
    "libraries/test_pages.py": ("test_the_page_on_snntorch_prints_what_it_says",),
    "cli/test_bad_input.py": (
        "test_a_full_disk_during_training_keeps_the_last_checkpoint",
        "test_train_killed_twice_leaves_whole_files_and_resumes_to_the_same_end",
    ),
    "cli/test_compare_minimize.py": (
        "test_minimize_writes_networks_and_frames_that_still_differ",
        "test_minimize_tells_its_numbers_to_machines",
        "test_minimize_on_lava_and_ctrl_c_keeps_the_best",
        "test_minimize_of_what_is_equal_says_so_and_writes_nothing",
    ),
    "cli/test_interrupt.py": (
        "test_training_stopped_again_and_again_ends_with_the_weights_of_an_undisturbed_run",
    ),
    "cli/test_one_weight.py": (
        "test_an_edited_network_written_by_the_library_differs_from_the_named_spike_on",
        "test_lava_finds_the_same_first_spike",
    ),
    "cli/test_saccades.py": ("test_events_train_quantize_and_run_with_equal_spikes",),
    "cli/test_torchrun.py": (
        "test_processes_read_parts_that_are_disjoint_and_together_everything",
        "test_norms_of_two_processes_are_those_of_the_whole_batch",
    ),
    "cli/test_verbs.py": (
        "test_quantize_says_what_each_layer_cost",
        "test_compare_runs_what_it_got_on_lava",
        "test_compare_with_a_network_tells_the_neuron_at_fault_from_what_the_trace_recorded",
    ),
    "kernels/test_compiled_neurons.py": (
        "test_import_compiles_nothing_and_a_cold_cache_is_filled_once",
    ),
    "parity/test_carriers_on_lava.py": (
        "test_every_carrier_equals_the_original_on_lava[ms-resnet with projections-unroll-delays]",
        "test_every_carrier_equals_the_original_on_lava[ds-resnet, K = 2-relay-delays]",
        "test_unmodified_netx_runs_the_stock_file_with_equal_spikes_or_refuses_it_loudly[plain]",
        "test_every_carrier_equals_the_original_on_lava[ds-resnet, K = 2-unroll-relays]",
    ),
    "parity/test_declared_widths_on_lava.py": (
        "test_what_stays_within_its_widths_is_equal_on_lava[stock]",
        "test_what_leaves_its_width_ends_a_run_on_lava_as_on_the_reference[stock-first]",
        "test_what_leaves_its_width_ends_a_run_on_lava_as_on_the_reference[stock-loop]",
        "test_what_leaves_its_width_ends_a_run_on_lava_as_on_the_reference[stock-potential]",
        "test_what_leaves_its_width_ends_a_run_on_lava_as_on_the_reference[fused-second]",
        "test_what_leaves_its_width_ends_a_run_on_lava_as_on_the_reference[fused-stream]",
        "test_what_leaves_its_width_ends_a_run_on_lava_as_on_the_reference[fused-leaky]",
        "test_the_fused_process_checks_without_kernels_too",
    ),
    "parity/test_from_net_example.py": ("test_example_tells_what_netx_gets_wrong_and_runs_right",),
    "parity/test_lava_counters.py": (
        "test_what_is_recorded_does_not_grow_with_the_steps",
        "test_counts_of_every_kind_of_population_are_those_of_the_raster_on_lava[9-neuron]",
    ),
    "parity/test_lava_fused.py": (
        "test_the_command_line_runs_compares_and_tells_of_fused_processes",
        "test_residual_network_that_leaves_the_fused_process_and_comes_back_is_the_references",
        "test_counts_and_workers_are_the_same_with_fused_processes",
        "test_trained_network_is_equal_in_stock_and_in_fused_processes",
        "test_every_population_is_the_references_with_the_fused_process[9]",
    ),
    "parity/test_lava_workers.py": ("test_the_command_line_takes_workers_on_lava_alone",),
    "parity/test_loihi2_standins.py": (
        "test_a_chain_is_counted_and_every_loggers_figures_arrive",
        "test_a_wrong_read_delay_ends_at_the_deadline_with_the_key_to_change",
        "test_a_logger_without_a_needed_figure_is_an_error_that_names_it",
        "test_every_message_streams_to_the_host_where_that_is_asked",
        "test_a_residual_network_gives_the_references_counts_and_readouts",
    ),
    "parity/test_slayer_delay_shift.py": (
        "test_every_verb_says_in_one_line_what_such_a_file_leaves_open",
    ),
    "parity/test_slayer_shortcut_example.py": (
        "test_example_trains_a_little_and_runs_equal_on_lava",
    ),
    "parity/test_slayer_tutorials.py": (
        "test_network_of_a_tutorial_runs_on_lava_as_slayer_runs_it[N-MNIST, convolutions]",
        "test_network_of_a_tutorial_runs_on_lava_as_slayer_runs_it[PilotNet, spiking]",
        "test_network_of_a_tutorial_runs_on_lava_as_slayer_runs_it[N-MNIST, dense]",
        "test_network_of_a_tutorial_runs_on_lava_as_slayer_runs_it[MNIST, bootstrap]",
    ),
    "packaging/test_newer_python.py": (
        "test_digits_on_lava_on_a_newer_python_are_those_of_the_reference[fused]",
        "test_digits_on_lava_on_a_newer_python_are_those_of_the_reference[stock]",
    ),
    "properties/test_proof.py": (
        "test_mistakes_in_one_node_are_found",
        "test_an_interrupted_proof_goes_on_where_it_was",
        "test_shards_of_a_proof_are_joined_by_their_ledgers",
        "test_chains_are_counted_for_themselves",
        "test_netx_after_a_failure_runs_the_next_file",
    ),
    "properties/test_random_graphs.py": (
        "test_drawn_networks_have_what_matters_most",
        "test_numbered_networks_have_everything_that_matters",
    ),
    "test_demo.py": ("test_demo_again_trains_nothing_and_keeps_the_weights",),
    "test_zoo.py": (
        "test_a_model_is_remade_from_its_recipe",
        "test_stored_network_gives_the_same_spikes_on_lava",
    ),
    "unit/test_benchmarks.py": (
        "test_the_graph_with_lavas_own_convolutions_sends_what_is_compared_with_it",
    ),
    "docs/test_report_page.py": ("test_the_sizes_are_those_of_today",),
    "docs/test_chips_page.py": ("test_the_figures_are_those_of_today[ds_resnet20_saccades]",),
    "unit/data/test_events.py": ("test_cache_whose_writer_was_killed_is_not_used",),
    "unit/targets/test_partition.py": (
        "test_of_eight_small_networks_all_but_one_are_placed_best_and_that_one_within_a_percent",
    ),
    "scale/test_sweep.py": ("test_workers_of_a_cluster_train_the_same",),
    "scale/test_cluster.py": (
        "test_a_scheduler_that_is_killed_is_told_and_the_same_command_goes_on",
        "test_ctrl_c_ends_the_lava_children_of_remote_workers",
        "test_a_verification_on_two_workers_is_that_of_one_process[90]",
        "test_a_poisoned_shard_is_reported_after_three_tries_and_the_others_are_kept",
    ),
    "unit/capture/test_slayer_speed.py": (
        "test_network_of_100_blocks_is_captured_in_ten_seconds[residual]",
        "test_network_of_100_blocks_is_captured_in_ten_seconds[chain]",
    ),
    "unit/runs/test_shards.py": (
        "test_traces_of_all_shards_are_the_trace_of_the_whole[options0-1]",
        "test_traces_of_all_shards_are_the_trace_of_the_whole[options0-7]",
        "test_traces_of_all_shards_are_the_trace_of_the_whole[options0-23]",
        "test_traces_of_all_shards_are_the_trace_of_the_whole[options1-1]",
        "test_traces_of_all_shards_are_the_trace_of_the_whole[options1-2]",
        "test_traces_of_all_shards_are_the_trace_of_the_whole[options1-23]",
    ),
    "cli/test_signals.py": ("test_a_child_that_a_signal_stopped_is_continued_and_the_run_says_so",),
    "docs/test_mapping_page.py": ("test_the_numbers_are_those_of_today",),
    "unit/quantization/test_quantization.py": (
        "test_any_network_is_proven_to_fit_or_refused[0.5]",
    ),
    "unit/training/test_mixed_precision.py": (
        "test_training_lowers_the_loss_and_differs_from_that_in_float32",
    ),
    "parity/test_netx_ported.py": ("test_pilotnet_lif_spike_input[lava-cpu]",),
}

# of its cases the first of every so many runs by default
SAMPLED = {
    "unit/analysis/test_cause.py": {
        "test_many_samples_have_the_same_cause": 2,
        "test_planted_fault_is_the_cause_that_is_named": 3,
    },
    "unit/analysis/test_causes_of_populations.py": {
        "test_a_changed_population_is_found_explained_and_made_small": 3,
    },
    "unit/nets/test_nets.py": {"test_integer_forward_is_the_reference_engine": 3},
    "unit/quantization/test_grids_that_lower.py": {
        "test_weights_that_outgrew_their_grid_get_a_coarser_one_and_lower": 2,
    },
    "unit/training/test_devices.py": {
        "test_a_step_runs_on_a_device_that_has_no_values_to_ask_for": 3
    },
    "unit/netx/test_stock_files.py": {
        "test_what_no_graph_expresses_is_refused_by_layer_and_field": 3
    },
    "parity/test_slayer_tutorials.py": {
        "test_network_of_a_tutorial_runs_on_lava_as_slayer_runs_it": 4
    },
    "unit/runs/test_shards.py": {
        "test_a_recorded_trace_is_that_of_a_run_in_one_piece": 3,
    },
    "docs/test_pages.py": {"test_the_page_can_be_followed": 3},
    "cli/test_convert.py": {
        "test_every_pair_of_forms_explains_every_node_and_computes_the_same": 2
    },
    "parity/test_declared_widths_on_lava.py": {
        "test_what_leaves_its_width_ends_a_run_on_lava_as_on_the_reference": 3,
    },
    "cli/test_bad_input.py": {
        "test_a_damaged_network_is_refused_with_what_is_wrong": 3,
        "test_export_killed_leaves_the_earlier_file_and_no_half_one": 2,
        "test_ctrl_c_while_a_file_is_written_leaves_nothing_and_says_so": 2,
        "test_training_without_its_packages_says_which_one_is_missing": 2,
    },
    "cli/test_signals.py": {
        "test_a_child_that_a_signal_stopped_is_continued_and_the_run_says_so": 2,
        "test_a_run_on_lava_that_a_signal_ends_leaves_nothing": 3,
    },
    "docs/test_site.py": {
        "test_a_stranger_goes_from_the_home_page_to_a_network_of_their_own": 2,
        "test_no_page_scrolls_sideways": 2,
    },
    "forwards/test_forwards.py": {"test_random_forward_is_the_graph_or_refused_with_its_line": 6},
    "golden/test_netx_goldens.py": {
        "test_shipped_truth_is_met_by_lava_processes": 8,
        "test_shipped_truth_is_met": 3,
    },
    "kernels/test_convolution.py": {"test_convolutions_of_every_shape_are_sums": 2},
    "kernels/test_network.py": {"test_random_networks_on_any_processor": 6},
    "kernels/test_triton_neurons.py": {
        "test_gradients_have_the_bits_of_torch": 3,
        "test_integer_neurons_with_a_bias_per_position_have_the_bits_of_torch": 3,
        "test_they_compile_for_a_gpu_and_nothing_is_contracted_or_flushed": 3,
    },
    "kinds/test_soft_lif.py": {
        "test_lowered_it_runs_on_lava_through_the_generic_process": 4,
    },
    "nir/test_random.py": {"test_a_random_nir_network_is_the_same_wherever_it_runs": 2},
    "nir/test_files.py": {"test_files_of_others_run_on_lava_as_in_integers": 2},
    "parity/test_carriers_on_lava.py": {
        "test_unmodified_netx_runs_the_stock_file_with_equal_spikes_or_refuses_it_loudly": 5,
    },
    "parity/test_lava.py": {"test_random_residual_graphs_run_bit_equal_on_lava": 3},
    "parity/test_lava_counters.py": {
        "test_counts_of_random_networks_are_the_references": 2,
        "test_counts_of_every_kind_of_population_are_those_of_the_raster_on_lava": 2,
        "test_the_first_and_the_last_step_of_a_sample_belong_to_it_alone": 4,
    },
    "parity/test_lava_failures.py": {
        "test_a_lava_process_that_is_gone_is_noticed_at_once_and_named": 3,
        "test_ctrl_c_during_lava_ends_every_process": 4,
        "test_a_failure_inside_a_fused_process_is_told_as_any_other": 3,
        "test_a_failure_while_lava_stops_is_told_too": 2,
        "test_a_message_of_the_wrong_shape_ends_with_lavas_own_traceback": 2,
        "test_a_model_that_lava_cannot_read_ends_before_start_up": 4,
        "test_a_model_that_sleeps_for_ever_ends_at_the_deadline_and_is_told_where_it_was": 2,
        "test_whatever_a_model_raises_comes_with_lavas_own_traceback": 8,
    },
    "parity/test_lava_fused.py": {
        "test_every_population_is_the_references_with_the_fused_process": 2,
        "test_random_networks_are_the_references_with_fused_processes": 5,
        "test_residual_network_that_leaves_the_fused_process_and_comes_back_is_the_references": 2,
    },
    "parity/test_lava_neurons.py": {
        "test_delta_step_is_lavas_delta": 3,
        "test_resonate_steps_are_lavas_resonate_and_fire": 6,
        "test_sigma_delta_step_is_lavas_sigma_delta": 3,
    },
    "parity/test_lava_populations.py": {"test_every_population_is_the_references": 2},
    "parity/test_lava_rounding.py": {
        "test_relays_of_every_shift_and_threshold_are_lavas_prodneuron_bit_for_bit": 2,
    },
    "parity/test_lava_workers.py": {"test_two_children_record_what_one_records": 2},
    "parity/test_loihi2_standins.py": {
        "test_a_residual_network_gives_the_references_counts_and_readouts": 2,
        "test_a_stream_is_rounded_by_lavas_prodneuron": 2,
        "test_the_scripts_of_deploy_store_traces_and_say_equal": 2,
    },
    "parity/test_netx_clock.py": {
        "test_what_mends_a_file_is_what_was_tried": 4,
        "test_clock_of_netx_is_netx": 4,
    },
    "parity/test_networks_of_today_on_lava.py": {
        "test_lava_sends_what_the_module_sends": 3,
    },
    "parity/test_slayer_capture.py": {
        "test_lava_sends_what_slayer_sends": 16,
        "test_graph_sends_what_slayer_sends": 6,
    },
    "parity/test_slayer_delay_shift.py": {
        "test_a_file_read_with_delay_shift_is_the_module_in_every_population": 2,
    },
    "parity/test_slayer_files.py": {
        "test_graph_of_a_file_that_slayer_wrote_sends_what_slayer_sent": 3,
    },
    "parity/test_slayer_stock_road.py": {
        "test_stock_road_ends": 3,
        "test_stock_file_of_a_captured_network_is_right_in_unmodified_netx": 2,
        "test_stock_road_is_right": 5,
        "test_stock_road_is_wrong_where_ours_is_right": 5,
    },
    "parity/test_stock_road_on_netx.py": {"test_count_of_a_fault_is_what_netx_does": 6},
    "properties/test_proof.py": {
        "test_every_engine_and_carrier_agrees_on_a_random_network": 8,
        "test_lava_agrees_on_a_random_membrane_network_as_lowered_for_a_chip": 2,
        "test_lava_agrees_on_a_random_network": 9,
        "test_unmodified_netx_agrees_on_a_random_chain": 2,
    },
    "properties/test_random_slayer.py": {"test_random_slayer_network_is_its_graph": 5},
    "test_zoo.py": {"test_stored_weights_and_stored_network_give_the_same_spikes": 4},
    "unit/training/test_tensorboard.py": {
        "test_every_epoch_is_there_once_after_an_interruption": 3
    },
    "unit/targets/test_chip_lowering.py": {
        "test_the_fewest_cores_are_never_more_than_those_of_a_forced_way": 2,
    },
    "unit/nets/test_families.py": {
        "test_colours_are_part_of_the_network_its_state_and_its_integers": 3,
        "test_every_weight_of_a_family_learns_in_both_phases": 5,
        "test_family_is_one_network_from_the_module_to_chip_time": 8,
        "test_recomputed_blocks_give_equal_gradients_and_statistics": 8,
    },
    "unit/analysis/test_minimize.py": {
        "test_one_wrong_weight_of_twenty_nodes_ends_in_four_nodes_or_fewer": 3,
    },
    "unit/nets/test_projections.py": {
        "test_as_lowered_for_the_chip_lava_sends_the_same_spikes": 2,
        "test_both_phases_are_trained_and_what_is_stored_is_what_was_trained": 2,
    },
    "unit/quantization/test_quantization.py": {
        "test_any_network_is_proven_to_fit_or_refused": 3,
        "test_imagenet_networks_that_project_thrice_fit_the_widths_and_are_one_network": 2,
    },
    "unit/lowering/test_shared_sums.py": {"test_sharing_changes_no_population": 2},
    "unit/reporting/test_report_page.py": {
        "test_three_actions_lead_to_the_neuron_and_the_weight": 2,
        "test_letters_are_large_and_dark_enough_to_read": 3,
        "test_the_body_never_scrolls_sideways": 3,
        "test_the_drawing_and_the_rasters_are_visible": 4,
    },
    "unit/graph/test_store.py": {
        "test_array_that_is_not_plain_integers_of_this_file_is_refused": 3,
        "test_attribute_that_is_missing_or_of_another_type_is_refused": 12,
        "test_array_that_unfolds_to_no_array_is_refused_with_what_is_wrong": 2,
        "test_edited_file_is_read_only_on_request": 3,
        "test_file_that_describes_no_graph_is_refused": 3,
    },
    "unit/training/test_training.py": {
        "test_a_run_with_them_goes_on_to_the_same_bits": 2,
        "test_every_choice_changes_the_training_and_is_repeatable": 5,
        "test_training_goes_on_from_the_middle_of_an_epoch": 2,
    },
}


def whole() -> bool:
    """Whether every case was asked for."""
    return os.environ.get(WHOLE) == "all"


def examples(count: int) -> int:
    """Examples of a property: a third by default."""
    return count if whole() else max(1, count // 3)


def mark_long(items: list[pytest.Item]) -> None:
    """Give tests that do not run by default the marker ``long``.

    Raises:
        UsageError: a test named here is not in its file.
    """
    files: dict[str, dict[str, list[pytest.Item]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        file, _, name = item.nodeid.removeprefix("tests/").partition("::")
        files[file][name.partition("[")[0]].append(item)
    for file, tests in files.items():
        for name in LONG.get(file, ()):
            plain = name.partition("[")[0]
            _mark(item for item in _of(tests, file, plain) if name in (plain, item.name))
        for name, every in SAMPLED.get(file, {}).items():
            _mark(item for at, item in enumerate(_of(tests, file, name)) if at % every)


def _of(tests: dict[str, list[pytest.Item]], file: str, name: str) -> list[pytest.Item]:
    if name not in tests and len(tests) > 1:  # one test alone was asked for by its name
        raise pytest.UsageError(f"tests/tiers.py names {name}, which tests/{file} does not have")
    return tests.get(name, [])


def _mark(items: Iterable[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.long)
